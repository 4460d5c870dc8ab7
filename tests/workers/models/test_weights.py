"""Weights: pinned, put together once, and never taken for what they are not."""

from __future__ import annotations

import hashlib
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from workers.models import weights
from workers.models.weights import Weight, WeightsError


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package of weights, in an environment of its own."""
    folder = tmp_path / "site" / "tiny_weights"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('code of a weights package was run')")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "prefix"))
    return folder


def weight(package: Path, name: str, data: bytes) -> Weight:
    (package / name).write_bytes(data)
    return Weight("tiny-weights", "tiny_weights", name, hashlib.sha256(data).hexdigest(), "MIT")


def test_a_file_is_found_without_running_its_package(package: Path) -> None:
    assert weight(package, "model.bin", b"abc").verified().read_bytes() == b"abc"


def test_a_missing_package_is_named() -> None:
    missing = Weight("no-such-weights", "no_such_weights", "model.bin", "0" * 64, "MIT")
    with pytest.raises(WeightsError) as error:
        missing.verified()
    assert "no-such-weights" in error.value.hint


def test_another_file_is_refused_even_where_the_right_one_was_seen_before(package: Path) -> None:
    good = weight(package, "model.bin", b"abc")
    good.verified()
    (package / "model.bin").write_bytes(b"evil")
    with pytest.raises(WeightsError, match="not the file"):
        good.verified()


def test_parts_are_joined_in_order_by_many_at_once(package: Path, tmp_path: Path) -> None:
    parts = (weight(package, "a", b"first " * 1000), weight(package, "b", b"second"))
    target = tmp_path / "joined.bin"
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: weights._joined(target, parts).read_bytes(), range(8)))
    assert set(results) == {b"first " * 1000 + b"second"}


def test_every_weight_is_pinned() -> None:
    assert len(weights.ALL) == len({one.path for one in weights.ALL}) == 16
    assert all(len(one.sha256) == 64 and one.licence for one in weights.ALL)
