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
    whole = b"first " * 1000 + b"second"
    target = tmp_path / "joined.bin"

    def prepare(_: int) -> bytes:
        return weights._prepared(target, hashlib.sha256(whole).hexdigest(), lambda: weights._joined(parts)).read_bytes()

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(prepare, range(8)))
    assert set(results) == {whole}


def test_a_damaged_assembled_file_of_the_same_size_is_made_anew(package: Path, tmp_path: Path) -> None:
    made: list[Path] = []
    target = tmp_path / "joined.bin"

    def make() -> bytes:
        made.append(target)
        return b"whole"

    def prepare() -> bytes:
        return weights._prepared(target, hashlib.sha256(b"whole").hexdigest(), make).read_bytes()

    assert prepare() == prepare() == b"whole"
    assert len(made) == 1, "the second start trusts the first"
    target.write_bytes(b"wh?le")
    assert prepare() == b"whole"


def test_what_is_put_together_wrongly_is_refused(package: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="put together"):
        weights._prepared(tmp_path / "joined.bin", hashlib.sha256(b"right").hexdigest(), lambda: b"wrong")
    assert not (tmp_path / "joined.bin").exists()


def test_every_weight_is_pinned() -> None:
    assert len(weights.ALL) == len({one.path for one in weights.ALL}) == 17
    assert all(len(one.sha256) == 64 and one.licence for one in weights.ALL)
