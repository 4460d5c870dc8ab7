"""Fair turns, order within a key, bounds, and acknowledgements in the order of the partition."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.intake import Intake, Received, tenant_of
from streams.record import Record


def nobody(record: Record) -> bool:
    return False


class Topic:
    """Hands out records and remembers what is acknowledged."""

    def __init__(self) -> None:
        self.acked: list[tuple[int, int]] = []
        self._ends: dict[int, int] = {}

    def next(self, key: str, partition: int = 0, size: int = 0) -> Received:
        offset = self._ends.get(partition, 0)
        self._ends[partition] = offset + 1
        record = Record("media.received.v1", b"x" * size, key.encode(), (), partition, offset)
        return Received(record, lambda: self.acked.append((partition, offset)))


def keys(batch: list[Received]) -> list[str]:
    return [(received.record.key or b"").decode() for received in batch]


def test_hot_tenant_delays_the_others_by_one_batch() -> None:
    topic, intake = Topic(), Intake(10_000)
    for number in range(1000):
        intake.add(topic.next(f"hot/{number}"))
    intake.add(topic.next("mild/a"))
    intake.add(topic.next("mild/b"))
    intake.add(topic.next("calm/a"))
    assert keys(intake.take(6, nobody)) == ["hot/0", "mild/a", "calm/a", "hot/1", "mild/b", "hot/2"]
    assert keys(intake.take(3, nobody)) == ["hot/3", "hot/4", "hot/5"]


def test_acknowledges_nothing_behind_what_is_still_in_work() -> None:
    topic, intake = Topic(), Intake(100)
    for key in ("hot/0", "hot/1", "calm/0"):
        intake.add(topic.next(key))
    intake.add(topic.next("calm/1", partition=1))
    first = intake.take(1, nobody)
    second = intake.take(9, nobody)
    assert keys(second) == ["calm/0", "hot/1", "calm/1"]
    intake.done(second)
    assert topic.acked == [(1, 0)]
    intake.done(first)
    assert topic.acked == [(1, 0), (0, 0), (0, 1), (0, 2)]


def test_what_is_passed_by_is_acknowledged_in_its_place() -> None:
    topic, intake = Topic(), Intake(100)
    intake.add(topic.next("a"))
    intake.pass_by(topic.next("b"))
    assert (len(intake), topic.acked) == (1, [])
    intake.done(intake.take(9, nobody))
    assert topic.acked == [(0, 0), (0, 1)]
    intake.pass_by(topic.next("c"))
    assert topic.acked == [(0, 0), (0, 1), (0, 2)]


def test_what_came_before_the_partitions_went_is_never_acknowledged() -> None:
    topic, intake = Topic(), Intake(100)
    intake.add(topic.next("a/0"))
    batch = intake.take(1, nobody)
    intake.begin_epoch()
    intake.done(batch)
    assert topic.acked == []
    intake.add(topic.next("a/1"))
    intake.done(intake.take(1, nobody))
    assert topic.acked == [(0, 1)]


def test_lanes_work_for_different_tenants() -> None:
    topic, intake = Topic(), Intake(100)
    for key in ("film/0", "film/1", "text/0", "text/1"):
        intake.add(topic.next(key))
    assert keys(intake.take(8, nobody, busy=set())) == ["film/0", "film/1"]
    intake.add(topic.next("film/2"))
    assert keys(intake.take(8, nobody, busy={"film"})) == ["text/0", "text/1"]
    assert not intake.has_work({"film"})
    assert intake.has_work({"text"})
    assert intake.take(8, nobody, busy={"film"}) == []


@pytest.mark.parametrize("busy", [None, set()])
def test_suspect_is_a_batch_of_its_own(busy: set[str] | None) -> None:
    topic, intake = Topic(), Intake(100)
    for number in range(4):
        intake.add(topic.next(f"a/{number}"))
    batches = []
    while intake:
        batches.append(keys(intake.take(8, lambda record: record.key == b"a/1", busy)))
    assert batches == [["a/0"], ["a/1"], ["a/2", "a/3"]]


def test_bounds_by_count_by_bytes_and_by_what_is_not_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.intake.MOST_BYTES", 100)
    monkeypatch.setattr("streams.intake.MOST_UNACKNOWLEDGED", 5)
    topic, intake = Topic(), Intake(3)
    intake.add(topic.next("a/0", size=1000))  # one always fits
    assert not intake.has_room()
    held = intake.take(1, nobody)
    for number in range(1, 4):
        assert intake.has_room()
        intake.add(topic.next(f"a/{number}"))
    assert not intake.has_room()
    intake.done(intake.take(3, nobody))
    intake.add(topic.next("a/4"))
    intake.done(intake.take(1, nobody))
    assert not intake.has_room()  # five wait behind the first
    intake.done(held)
    assert intake.has_room()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.integers(0, 1)), max_size=60), st.data())
def test_every_record_once_keys_in_order_acks_in_order(
    arrivals: list[tuple[str, int, int]], data: st.DataObject
) -> None:
    topic, intake = Topic(), Intake(1000)
    for tenant, number, partition in arrivals:
        intake.add(topic.next(f"{tenant}/{number}", partition))
    batches = []
    while intake:
        batches.append(intake.take(data.draw(st.integers(1, 7)), nobody))
    taken = [received.record for batch in batches for received in batch]
    assert len(taken) == len(arrivals)
    for part in (0, 1):
        for key in {record.key for record in taken}:
            offsets = [record.offset for record in taken if (record.key, record.partition) == (key, part)]
            assert offsets == sorted(offsets)
    for batch in data.draw(st.permutations(batches)):
        intake.done(batch)
        for part in (0, 1):
            acked = [offset for partition, offset in topic.acked if partition == part]
            assert acked == list(range(len(acked)))
    assert len(topic.acked) == len(arrivals)


@pytest.mark.parametrize(
    ("key", "headers", "tenant"),
    [
        (b"acme/doc", (("ce_tenant", b"other"),), "acme"),
        (b"0198c5f2", (("ce_type", b"x"), ("ce_tenant", b"acme")), "acme"),
        (None, (("Tenant", b"acme"),), "acme"),
        (b"\xff\xfe/x", (), "\ufffd\ufffd"),
        (None, (), ""),
    ],
)
def test_whose_record_it_is(key: bytes | None, headers: tuple[tuple[str, bytes], ...], tenant: str) -> None:
    assert tenant_of(Record("t", b"", key, headers)) == tenant
