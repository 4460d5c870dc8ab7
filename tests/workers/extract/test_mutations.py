"""Documents broken in every way, through the extract stage; the full form is a line of ``make faults``."""

from __future__ import annotations

import pytest

from schemas.chunks import ChunksExtracted
from tests.faults import mutations
from tests.faults.mutations import Tried, run
from tests.mutants import Mutant, mutants, originals
from workers.errors import InvalidMedia
from workers.extract.containers import _DEMUXERS
from workers.extract.signatures import ACCEPTED
from workers.limits import Limits

PER_FORMAT = 9
"""One of each kind of change."""
MADE_BY_HAND = 50


def test_every_accepted_format_is_broken_in_every_way() -> None:
    accepted = {signature.name for signature in ACCEPTED} | set(_DEMUXERS)
    accepted |= {"text/plain", "text/markdown", "text/html"}
    same_code = {"audio/x-matroska"}  # as video/x-matroska and audio/webm
    assert {name.partition(" ")[0] for name in originals()} == accepted - same_code
    kinds = [mutant.kind for mutant in mutants("image/png", PER_FORMAT)]
    assert len(kinds) == len(set(kinds)) == PER_FORMAT


@pytest.mark.filterwarnings("ignore::UserWarning")  # the parsers' own
async def test_each_ends_as_chunks_or_with_a_reason() -> None:
    limits = Limits()
    tried = await run(PER_FORMAT, limits)
    assert tried.wrong == []
    assert tried.tried >= PER_FORMAT * len(originals()) + MADE_BY_HAND
    assert tried.indexed > 0
    assert tried.refused > MADE_BY_HAND
    assert 50 < tried.peak_mib <= limits.decoder_memory_mib


def test_what_ends_otherwise_is_wrong() -> None:
    (mutant,) = mutants("image/png", 1)
    tried = Tried()
    unfinished = ChunksExtracted(document_id="d", version=1, event_time_ms=0, is_last=False)
    for results in ([], [unfinished], [InvalidMedia("", hint="x")], [KeyError("x")]):
        mutations._judge(Mutant("x", mutant.event), results, tried)
    assert len(tried.wrong) == 4
    assert not tried.verdict(Limits()).is_clean
