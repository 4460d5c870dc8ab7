"""``sensorium demo`` (``make run``): the main job on the sample media.

Starts a system of its own in ``<data_dir>/demo``, publishes text, a scanned page, photos, a sound, speech and a video,
asks about each, and prints the answers as they stream in with their evidence. The exit code is 1 where an answer does
not come with the kind of evidence that it should.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape

from schemas.answers import AnswerFinished
from schemas.media import Modality
from schemas.queries import Evidence
from streams.cli.common import errors, output
from streams.cli.render import AnswerPrinter
from streams.client import AskOptions, Client
from streams.local_system import local_system
from streams.settings import Settings

SAMPLES = Path(__file__).parent.parent / "samples"
DOCUMENTS = (
    "handbook.md",
    "scanned-page.png",
    "astronaut.jpg",
    "cat.jpg",
    "coffee.jpg",
    "rocket.jpg",
    "alarm-clock.ogg",
    "reading.flac",
    "programme.mp4",
)


THREE = AskOptions(limit=3)


@dataclass(frozen=True)
class Question:
    """One question of the demonstration, and the evidence that its answer must show."""

    shows: str
    words: str
    document: str
    is_shown: Callable[[Evidence], bool]
    options: AskOptions = THREE


def _has_box(evidence: Evidence) -> bool:
    return evidence.box is not None


def _has_seconds(evidence: Evidence) -> bool:
    return evidence.start_ms is not None and evidence.end_ms is not None and evidence.end_ms > evidence.start_ms


QUESTIONS = (
    Question(
        "a passage of text", "How long are raw recordings kept?", "handbook.md", lambda found: "ninety" in found.text
    ),
    Question(
        "a scanned page, with the box",
        "What is found at the two extreme parts of the histogram of grey values?",
        "scanned-page.png",
        lambda found: "markers" in found.text and _has_box(found),
    ),
    Question(
        "a photo, by what it shows",
        "Is there a photo of a cat?",
        "cat.jpg",
        lambda found: found.modality is Modality.IMAGE,
    ),
    Question(
        "a sound, by what it is",
        "Is there a recording of an alarm clock?",
        "alarm-clock.ogg",
        lambda found: found.modality is Modality.AUDIO and _has_seconds(found),
        AskOptions(limit=3, modalities=(Modality.AUDIO,)),
    ),
    Question(
        "spoken words, with their seconds",
        "What might he have been made if he had married a more amiable woman?",
        "reading.flac",
        lambda found: "respectable" in found.text and _has_seconds(found),
    ),
    Question(
        "a moment of a video",
        "When does the video show a palace or temple by a lake?",
        "programme.mp4",
        lambda found: found.modality is Modality.VIDEO and _has_seconds(found),
    ),
    Question(
        "a question that is an image",
        "",
        "programme.mp4",
        lambda found: found.modality is Modality.VIDEO and (found.start_ms or 0) > 10_000,
        AskOptions(limit=3, image=SAMPLES / "questions" / "flower.jpg", modalities=(Modality.VIDEO,)),
    ),
)


async def run_demo(settings: Settings) -> int:
    """Run the demonstration; 0 where every answer shows what it should."""
    data_dir = settings.data_dir.absolute() / "demo"
    await asyncio.to_thread(shutil.rmtree, data_dir, ignore_errors=True)  # the same every time
    chosen = settings.model_copy(update={"data_dir": data_dir})
    errors.print("starting a broker, a store and all workers …")
    async with local_system(chosen), Client(chosen) as client:
        if not await _publish(client):
            return 1
        shown = [await _ask(client, number, question) for number, question in enumerate(QUESTIONS, 1)]
    good = sum(shown)
    output.print(f"\n{good} of {len(QUESTIONS)} questions were answered with the evidence that they are about")
    return 0 if good == len(QUESTIONS) else 1


async def _publish(client: Client) -> bool:
    errors.print(f"publishing {len(DOCUMENTS)} samples …")
    published = [
        await client.publish(SAMPLES / name, source="samples", source_uri=name, document_id=name) for name in DOCUMENTS
    ]
    good = True
    async for step in client.progress(published):
        if step.failed:
            errors.print(f"[bold red]error:[/] {escape(step.published.name)}: {escape(step.reason)}")
            good = False
        elif step.chunks:
            errors.print(f"  {escape(step.published.name)}: {step.chunks} chunks are searchable")
    return good


async def _ask(client: Client, number: int, question: Question) -> bool:
    picture = "" if question.options.image is None else f"(the picture {Path(str(question.options.image)).name}) "
    output.print(f"\n[bold]{number}. {picture}{escape(question.words)}[/]   [dim]{question.shows}[/]")
    printer = AnswerPrinter(output)
    finished: AnswerFinished | None = None
    async for event in client.ask(question.words, question.options):
        printer.show(event)
        if isinstance(event, AnswerFinished):
            finished = event
    cited = finished.citations if finished else ()
    good = any(found.document_id == question.document and question.is_shown(found) for found in cited)
    if not good:
        output.print(f"[yellow]this should have shown {question.shows} of {question.document}[/]")
    return good
