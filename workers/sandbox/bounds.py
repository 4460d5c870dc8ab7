"""How much a decoder process may take, and how the worker says that it took more."""

from __future__ import annotations

from dataclasses import dataclass

from workers.errors import LimitExceeded
from workers.limits import Limits


@dataclass(frozen=True, slots=True)
class Bounds:
    """See the fields ``decoder_…`` of ``Limits``."""

    memory_mib: int
    cpu_s: float
    wall_s: float
    total_s: float

    @classmethod
    def of(cls, limits: Limits) -> Bounds:
        """Those of the settings."""
        return cls(
            memory_mib=limits.decoder_memory_mib,
            cpu_s=limits.decoder_cpu_seconds,
            wall_s=limits.decoder_seconds,
            total_s=limits.decoder_total_seconds,
        )

    def too_much_memory(self) -> LimitExceeded:
        """It asked for more memory, or held more."""
        return _exceeded(f"needed more than {self.memory_mib} MiB of memory", "DECODER_MEMORY_MIB")

    def too_much_work(self) -> LimitExceeded:
        """It computed for too long without getting on."""
        return _exceeded(f"took more than {self.cpu_s:g} s of processor time for one step", "DECODER_CPU_SECONDS")

    def too_slow(self) -> LimitExceeded:
        """It gave no sign for too long."""
        return _exceeded(f"took more than {self.wall_s:g} s for one step", "DECODER_SECONDS")

    def too_long(self) -> LimitExceeded:
        """All its steps together took too long."""
        return _exceeded(f"took more than {self.total_s:g} s in all", "DECODER_TOTAL_SECONDS")


def _exceeded(what: str, setting: str) -> LimitExceeded:
    return LimitExceeded(
        f"decoder_killed: decoding the document {what}",
        hint=f"check the file, publish a smaller one, or raise SENSORIUM_LIMITS__{setting}",
    )
