"""Answers by a causal language model of transformers."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import torch


class HubGenerator:
    """Continues a prompt, greedily: the same prompt gives the same answer."""

    def __init__(self, name: str, device: str) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.name = name
        self._device = device
        self._model = AutoModelForCausalLM.from_pretrained(name).eval().to(device)
        self._tokenizer = AutoTokenizer.from_pretrained(name)

    def stream(self, prompt: str, *, max_tokens: int, stop: Sequence[str] = ()) -> Iterator[str]:
        """The continuation of ``prompt``, piece by piece. Closing the iterator stops the generation.

        Raises what the model fails with: an answer that breaks off is never taken for a whole one.
        """
        from transformers import StoppingCriteriaList, TextIteratorStreamer

        closed = threading.Event()
        faults: list[BaseException] = []
        streamer = TextIteratorStreamer(self._tokenizer, skip_prompt=True, skip_special_tokens=True)
        thread = threading.Thread(
            target=self._generate,
            args=(prompt, max_tokens, streamer, StoppingCriteriaList([_Closed(closed)]), faults),
            name="hub-generator",
            daemon=True,
        )
        thread.start()
        try:
            yield from _until(streamer, stop)
            if faults:
                raise faults[0]
        finally:
            closed.set()
            for _ in streamer:  # what is still on its way
                pass
            thread.join()

    def _generate(
        self, prompt: str, max_tokens: int, streamer: Any, stopping: Any, faults: list[BaseException]
    ) -> None:
        try:
            inputs = self._tokenizer(prompt, return_tensors="pt").to(self._device)
            with torch.inference_mode():
                self._model.generate(
                    input_ids=inputs["input_ids"],
                    attention_mask=inputs["attention_mask"],
                    max_new_tokens=max_tokens,
                    do_sample=False,
                    streamer=streamer,
                    stopping_criteria=stopping,
                )
        except BaseException as fault:  # raised where the pieces are read, not lost in this thread
            faults.append(fault)
        finally:
            streamer.on_finalized_text("", stream_end=True)  # whoever waits must not wait for ever


class _Closed:
    """Stops a generation that nobody reads any more."""

    def __init__(self, closed: threading.Event) -> None:
        self._closed = closed

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: object) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), self._closed.is_set(), dtype=torch.bool, device=input_ids.device)


def _until(pieces: Iterator[str], stop: Sequence[str]) -> Iterator[str]:
    """``pieces`` up to the first of the ``stop`` texts, which may be cut over two pieces."""
    longest = max((len(text) for text in stop), default=1)
    held = ""
    for piece in pieces:
        held += piece
        ends = [held.index(text) for text in stop if text in held]
        if ends:
            yield held[: min(ends)]
            return
        ready = len(held) - longest + 1
        if ready > 0:
            yield held[:ready]
            held = held[ready:]
    if held:
        yield held
