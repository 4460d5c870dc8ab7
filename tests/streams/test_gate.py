"""Every question is answered by exactly one generation, whoever begins to read where."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from schemas.base import Event
from schemas.generations import GenerationBegins, GenerationSwitched
from schemas.queries import QueryAsked
from streams.gate import Gate
from streams.record import Record
from streams.wire import encode
from workers.errors import TransientError

NAMES = ("first", "second")


def record(event: Event, offset: int, partition: int = 0) -> Record:
    return replace(encode(event), partition=partition, offset=offset)


def question(offset: int, generation: str = "", partition: int = 0) -> Record:
    return record(QueryAsked(query_id=f"q{offset}", question="x", generation=generation), offset, partition)


def mark(generation: str, offset: int, partition: int = 0) -> Record:
    return record(GenerationBegins(generation=generation), offset, partition)


def gate(generation: str, switches: Sequence[GenerationSwitched] = (), in_use: str = "first") -> Gate:
    async def read() -> Sequence[GenerationSwitched]:
        return switches

    async def ask() -> str:
        return in_use

    return Gate(generation, read, ask)


async def test_before_the_first_switch_the_alias_says_who_answers() -> None:
    assert await gate("first").admits(question(0))
    assert not await gate("second").admits(question(0))
    assert await gate("second", in_use="second").admits(question(0))


async def test_a_mark_changes_who_answers_in_its_partition_alone() -> None:
    old, new = gate("first"), gate("second")
    for each in (old, new):
        assert not await each.admits(mark("second", 5))
    assert [await old.admits(question(6)), await new.admits(question(6))] == [False, True]
    other = question(6, partition=1)
    assert [await old.admits(other), await new.admits(other)] == [True, False]


async def test_a_question_may_name_its_generation() -> None:
    old, new = gate("first"), gate("second")
    assert [await old.admits(question(0, "second")), await new.admits(question(0, "second"))] == [False, True]
    assert [await old.admits(question(1, "first")), await new.admits(question(1, "first"))] == [True, False]


async def test_what_cannot_be_read_is_refused_by_the_generation_in_use() -> None:
    broken = Record("queries.asked.v1", b"{", b"k", (), 0, 3)
    assert [await gate("first").admits(broken), await gate("second").admits(broken)] == [True, False]


async def test_partitions_that_come_anew_are_looked_up_anew() -> None:
    switches: list[GenerationSwitched] = []
    old = gate("first", switches)
    old.assigned()
    assert await old.admits(question(3))
    switches.append(GenerationSwitched(generation="second", before="first", marks={0: 4}))
    old.assigned()
    assert await old.admits(question(3))
    old.assigned()
    assert not await old.admits(question(5))


async def test_it_waits_for_a_broker_that_is_away() -> None:
    tries = 0

    async def read() -> Sequence[GenerationSwitched]:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise TransientError("away")
        return [GenerationSwitched(generation="second", before="first", marks={0: 1})]

    async def never() -> str:
        raise AssertionError("the switches say it")

    assert await Gate("second", read, never).admits(question(2))
    assert tries == 3


@given(
    st.lists(st.sampled_from([*NAMES, ""]), min_size=1, max_size=30),
    st.lists(st.integers(0, 30), max_size=4),
)
def test_whoever_starts_where_each_question_has_one_answer(log: list[str], restarts: list[int]) -> None:
    """``log``: a mark for a generation, or a question. Workers start again at any place and know all switches."""

    async def run() -> None:
        answered = {name: await _answered(name, log, restarts) for name in NAMES}
        questions = {offset for offset, what in enumerate(log) if not what}
        assert answered["first"] | answered["second"] == questions
        assert not answered["first"] & answered["second"]

    asyncio.run(run())


async def _answered(name: str, log: list[str], restarts: list[int]) -> set[int]:
    switches: list[GenerationSwitched] = []
    before = "first"
    for offset, what in enumerate(log):
        if what:
            switches.append(GenerationSwitched(generation=what, before=before, marks={0: offset}))
            before = what
    reader, found = gate(name), set()
    for offset, what in enumerate(log):
        if offset in restarts:
            reader = gate(name, switches, in_use=before)
        if await reader.admits(mark(what, offset) if what else question(offset)):
            found.add(offset)
    return found
