"""The index generations that run on this machine, kept in ``<data_dir>/generations.json``.

The first of them has all stages; each other one has those that depend on models and chunking. ``sensorium up`` starts
and ends processes as the file says. Raises ``UsageError`` for settings that cannot be.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.generations import FIRST
from streams.client_errors import UsageError
from streams.environment import PREFIX
from streams.runtime import write_atomically
from streams.settings import Settings
from streams.stages import PER_GENERATION

Group = tuple[str, ...]
"""Stages that share a process."""


class Generation(BaseModel):
    """One generation. ``settings`` are those in which it differs, by the names of their variables."""

    model_config = ConfigDict(frozen=True)

    name: str
    settings: dict[str, str] = {}


class _Kept(BaseModel):
    in_use: str = FIRST
    generations: tuple[Generation, ...] = ()


class Planned(BaseModel):
    """A worker process that should run."""

    model_config = ConfigDict(frozen=True)

    name: str
    group: Group
    generation: Generation
    is_first: bool


def read_generations(settings: Settings) -> tuple[Generation, ...]:
    """Those that run here; that of the settings where nobody has reindexed yet."""
    return _read(settings).generations or (Generation(name=settings.generation),)


def write_generations(settings: Settings, generations: Sequence[Generation]) -> None:
    """Say which run here."""
    _write(settings, _read(settings).model_copy(update={"generations": tuple(generations)}))


def last_used(settings: Settings) -> str:
    """The generation that was switched to on this machine: for a broker that forgets the switches when it ends."""
    return _read(settings).in_use


def write_used(settings: Settings, name: str) -> None:
    """Remember the generation that was switched to."""
    _write(settings, _read(settings).model_copy(update={"in_use": name}))


def _path(settings: Settings) -> Path:
    return settings.data_dir / "generations.json"


def _read(settings: Settings) -> _Kept:
    try:
        return _Kept.model_validate_json(_path(settings).read_text())
    except FileNotFoundError:
        return _Kept()


def _write(settings: Settings, kept: _Kept) -> None:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    write_atomically(_path(settings), kept.model_dump_json(indent=2))


def planned(groups: Mapping[str, Group], generations: Sequence[Generation]) -> dict[str, Planned]:
    """The processes that ``generations`` need, by name; ``groups`` are those of the first."""
    found = {}
    for number, generation in enumerate(generations):
        for name, group in groups.items():
            stages = tuple(stage for stage in group if number == 0 or stage in PER_GENERATION)
            own = name if number == 0 else f"{'-'.join(stages)}@{generation.name}"
            if stages:
                found[own] = Planned(name=own, group=stages, generation=generation, is_first=number == 0)
    return found


def settings_of(generation: Generation) -> Settings:
    """The settings of its workers. Raises ``UsageError``."""
    with _environment({**generation.settings, f"{PREFIX}GENERATION": generation.name}):
        try:
            return Settings()
        except ValidationError as error:
            complaint = error.errors(include_url=False, include_input=False)[0]
            place = "__".join(str(part) for part in complaint["loc"]).upper()
            raise UsageError(f"{PREFIX}{place}: {complaint['msg']}", hint="docs/reindex.md has examples") from error


def checked(name: str, changes: Sequence[str]) -> Generation:
    """A generation of ``NAME=value`` changes, such as ``PROFILE=hub`` or ``LIMITS__PASSAGE_TOKENS=120``."""
    settings = {}
    for change in changes:
        variable, equals, value = change.partition("=")
        field = variable.upper().removeprefix(PREFIX)
        if not equals or field.partition("__")[0].lower() not in Settings.model_fields:
            raise UsageError(f"{change!r} is no setting", hint="name it as in PROFILE=hub")
        settings[f"{PREFIX}{field}"] = value
    generation = Generation(name=name, settings=settings)
    settings_of(generation)
    return generation


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
