"""The arithmetic of ``sensorium bench``, and its smallest measurement."""

from __future__ import annotations

import json

import pytest

from streams.bench import MEASUREMENTS, machine, run_bench
from streams.bench.figures import Figure, percentile
from streams.bench.inputs import KINDS
from streams.client import UsageError
from streams.settings import Settings


def test_percentiles_interpolate() -> None:
    values = [float(number) for number in range(1, 102)]
    assert percentile(values, 0.5) == pytest.approx(51, abs=0.2)
    assert percentile(values, 0.95) == pytest.approx(96, abs=0.2)
    assert percentile([7.0], 0.95) == 7.0


@pytest.mark.parametrize(
    ("value", "bounds", "is_met"),
    [
        (0.9, {"at_least": 0.8}, True),
        (0.7, {"at_least": 0.8}, False),
        (3.0, {"at_most": 2.0}, False),
        (3.0, {}, None),
    ],
)
def test_a_want_is_judged_or_there_is_none(value: float, bounds: dict[str, float], is_met: bool | None) -> None:
    assert Figure(name="x", value=value, unit="s", sample="1", **bounds).is_met is is_met


def test_inputs_are_different_and_the_same_every_time() -> None:
    for kind in KINDS[:2]:
        first, again = kind.make(20), kind.make(20)
        assert first == again
        assert len({document.data for document in first}) == 20


async def test_an_unknown_measurement_is_refused() -> None:
    with pytest.raises(UsageError, match="speed"):
        await run_bench(Settings(), ("speed",), quick=True, as_json=True)
    assert "cores" in machine()
    assert "padding" in MEASUREMENTS


@pytest.mark.models
async def test_figures_are_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    code = await run_bench(Settings(), ("padding",), quick=True, as_json=True)
    first, *_ = capsys.readouterr().out.splitlines()
    figure = json.loads(first)
    assert figure["is_met"] is (figure["value"] <= figure["at_most"])
    assert code == (0 if figure["is_met"] else 1)
