"""Prompts: few-shot examples, then the question and the evidence as quoted data.

In: a question and evidence. Out: text that a model continues with the answer. Raises nothing.

Two forms. ``one_note`` gives a very small base model a single note and the question twice: of 25 questions Gemma 3 270M
answered 25 so, 21 with the question only after the note, and 13 with all notes at once. ``numbered`` gives a model that
can weigh evidence all of it. Examples are in ``workers/prompts``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Literal

from schemas.queries import Evidence
from workers.generation.wording import source_name

Form = Literal["one_note", "numbered"]

STOP = ("\n",)
"""Where an answer ends: the examples' answers are one line."""
NOT_FOUND = "not found"
"""What a model writes that finds no answer in the evidence."""
MOST_QUESTION_CHARS = 500


def prompt(form: Form, question: str, evidence: Sequence[Evidence]) -> str:
    """The prompt in one of the two forms; ``one_note`` reads the first piece of evidence only."""
    asked = _quoted(question)[:MOST_QUESTION_CHARS]
    if form == "one_note":
        return f'{_examples(form)}Question: {asked}\nNote: "{_quoted(evidence[0].text)}"\nQuestion: {asked}\nAnswer:'
    notes = "\n".join(_note(piece) for piece in evidence)
    return f"{_examples(form)}Evidence:\n{notes}\nQuestion: {asked}\nAnswer:"


def _note(evidence: Evidence) -> str:
    return f'[{evidence.number}] {source_name(evidence)} ({evidence.channel}): "{_quoted(evidence.text)}"'


def _quoted(text: str) -> str:
    """Data that cannot leave its quotation: one line, no quotation marks, no brackets."""
    return " ".join(text.translate(_HARMLESS).split())


@cache
def _examples(form: Form) -> str:
    return files("workers").joinpath("prompts", f"{form}.txt").read_text(encoding="utf-8")


_HARMLESS = str.maketrans({'"': "'", "“": "'", "”": "'", "[": "(", "]": ")"})
