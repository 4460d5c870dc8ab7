"""Which generations run on a machine, and which processes that takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.client_errors import UsageError
from streams.compare import from_file
from streams.generations import (
    Generation,
    checked,
    last_used,
    planned,
    read_generations,
    settings_of,
    write_generations,
    write_used,
)
from streams.settings import Settings
from streams.stages import group_id, own_name
from streams.supervisor import GROUPS
from streams.topics import CHUNKS_EMBEDDED, MEDIA_RECEIVED, contract_name, of_generation

SECOND = Generation(name="second", settings={"SENSORIUM_PROFILE": "fake"})


def test_they_are_kept(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    assert [generation.name for generation in read_generations(settings)] == ["first"]
    assert last_used(settings) == "first"
    write_generations(settings, [Generation(name="first"), SECOND])
    write_used(settings, "second")
    assert read_generations(settings) == (Generation(name="first"), SECOND)
    assert last_used(settings) == "second"


def test_the_first_has_all_stages_and_the_others_those_of_their_own() -> None:
    groups = {"-".join(group): group for group in GROUPS}
    found = planned(groups, [Generation(name="first"), SECOND])
    assert [(name, plan.group) for name, plan in found.items() if plan.is_first] == list(groups.items())
    assert [(name, plan.group) for name, plan in found.items() if not plan.is_first] == [
        ("extract@second", ("extract",)),
        ("embed-index@second", ("embed", "index")),
        ("retrieve@second", ("retrieve",)),
    ]
    alone = planned(groups, [SECOND])
    assert list(alone) == list(groups)
    assert all(plan.generation == SECOND for plan in alone.values())


def test_names_of_topics_and_groups() -> None:
    assert of_generation(CHUNKS_EMBEDDED, "first") == CHUNKS_EMBEDDED
    assert of_generation(CHUNKS_EMBEDDED, "second").name == "chunks.embedded.v1.second"
    assert of_generation(MEDIA_RECEIVED, "second") == MEDIA_RECEIVED
    assert contract_name("chunks.embedded.v1.second") == contract_name("chunks.embedded.v1") == "chunks.embedded.v1"
    assert (group_id("embed"), group_id("embed", "second")) == ("sensorium-embed", "sensorium-embed-second")
    assert group_id("rerank", "second") == "sensorium-rerank"
    assert own_name("embed", "second") == "embed@second"


def test_changes_are_settings() -> None:
    generation = checked("second", ["limits__passage_tokens=60", "SENSORIUM_PROFILE=fake"])
    assert generation.settings == {"SENSORIUM_LIMITS__PASSAGE_TOKENS": "60", "SENSORIUM_PROFILE": "fake"}
    chosen = settings_of(generation)
    assert (chosen.generation, chosen.profile, chosen.limits.passage_tokens) == ("second", "fake", 60)
    for name, change in (("second", "PROFILE"), ("second", "COLOUR=red"), ("second", "PROFILE=x"), ("No!", "OCR=0")):
        with pytest.raises(UsageError):
            checked(name, [change])


def test_questions_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "questions"
    path.write_text('plain words\n\n{"question": "of an object", "id": 1}\n')
    assert from_file(path) == ["plain words", "of an object"]
    path.write_text('{"id": 1}')
    with pytest.raises(UsageError, match="has no question"):
        from_file(path)
