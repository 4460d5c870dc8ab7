"""The gate in front of milvus-lite, and the partitions that a filter leaves."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from schemas.queries import Filters
from workers.store import filters
from workers.store.lite import Gate, partitions


def test_reads_run_together_with_each_other_and_with_a_write() -> None:
    gate = Gate()
    together = threading.Barrier(3, timeout=5)

    def behind(enter: object) -> None:
        with enter():  # type: ignore[operator]  # a method of the gate
            together.wait()

    with ThreadPoolExecutor(3) as threads:
        for future in [threads.submit(behind, enter) for enter in (gate.read, gate.read, gate.write)]:
            future.result()


def test_writes_and_changes_come_one_after_the_other_and_a_change_waits_for_reads() -> None:
    gate = Gate()
    inside: list[str] = []
    worst: list[int] = []
    lock = threading.Lock()

    def behind(name: str) -> None:
        with getattr(gate, name)():
            with lock:
                inside.append(name)
                if "change" in inside:
                    worst.append(len(inside))
                assert inside.count("write") <= 1
            threading.Event().wait(0.001)
            with lock:
                inside.remove(name)

    with ThreadPoolExecutor(8) as threads:
        for future in [threads.submit(behind, name) for name in ("read", "write", "change", "read") * 25]:
            future.result()
    assert set(worst) == {1}


def test_a_filter_on_the_key_leaves_its_partitions() -> None:
    expression = filters.of_query("t", Filters(), ["words"])
    assert len(partitions(expression, "shard")) == 1
    assert partitions(expression, "shard")[0].startswith("_pk_")
    assert set(partitions(expression, "shard")) <= set(
        partitions(filters.of_query("t", Filters(), ["words", "sound"]), "shard")
    )


def test_without_a_term_on_the_key_all_partitions_are_read() -> None:
    assert partitions('tenant == "t"', "shard") == []
    assert partitions('shard not in ["a"]', "shard") == []
    assert partitions('shard in ["a"] or tenant == "t"', "shard") == []
    assert partitions("", "shard") == []
    assert partitions('shard in ["a"]', None) == []


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_tenant_has_a_partition(tenant: str) -> None:
    assert len(partitions(filters.of_query(tenant, Filters(), ["words"]), "shard")) == 1
