"""Local answers: Gemma 3 270M (a GGUF file) by xllamacpp, in this process.

The server keeps the state of the last prompt, so that instructions that repeat are computed once. It also listens on a
free port of loopback, which nothing here uses.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from workers.models import weights

CONTEXT_TOKENS = 4096
QUIET = -1


class LlamaGenerator:
    """Continues a prompt, greedily: the same prompt gives the same answer."""

    name = "llama"

    def __init__(self, threads: int) -> None:
        import xllamacpp

        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(weights.gemma())
        parameters.n_ctx = CONTEXT_TOKENS
        parameters.n_parallel = 1
        parameters.cpuparams.n_threads = threads
        parameters.cpuparams_batch.n_threads = threads
        parameters.port = 0
        parameters.cache_ram_mib = 0  # one prompt is kept in the context itself; more would be memory for nothing
        parameters.verbosity = QUIET
        parameters.warmup = True
        self._server = xllamacpp.Server(parameters)

    def stream(self, prompt: str, *, max_tokens: int, stop: Sequence[str] = ()) -> Iterator[str]:
        """The continuation of ``prompt``, piece by piece. Closing the iterator stops the generation.

        Raises ``RuntimeError`` where the engine refuses, a prompt beyond the context among it, and whatever it fails
        with: an answer that breaks off is never taken for a whole one. None of it passes by waiting.
        """
        request = {
            "prompt": prompt,
            "n_predict": max_tokens,
            "stop": list(stop),
            "temperature": 0.0,
            "cache_prompt": True,
            "stream": True,
        }
        pieces: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        closed = threading.Event()
        faults: list[BaseException] = []

        def hear(piece: dict[str, Any]) -> bool:
            pieces.put(piece)
            return closed.is_set()  # true stops the engine between two tokens

        def run() -> None:
            try:
                self._server.handle_completions(request, hear)
            except BaseException as fault:  # raised where the pieces are read, not lost in this thread
                faults.append(fault)
            finally:
                pieces.put(None)

        thread = threading.Thread(target=run, name="llama", daemon=True)
        thread.start()
        try:
            while (piece := pieces.get()) is not None:
                yield _text(piece)
            if faults:
                raise faults[0]
        finally:
            closed.set()
            thread.join()


def _text(piece: dict[str, Any]) -> str:
    if "choices" not in piece:
        raise RuntimeError(f"the generator refused: {str(piece)[:300]}")
    return str(piece["choices"][0]["text"])
