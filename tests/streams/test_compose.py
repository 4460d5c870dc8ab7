"""docker-compose.yml and the Dockerfile against the compose schema, the settings, the stages and the files."""

from __future__ import annotations

import json
import os
import re
import shlex
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import pytest
import typer
import yaml
from pydantic import BaseModel

from streams import runtime
from streams.cli import app
from streams.healthcheck import is_healthy
from streams.runtime import WorkerState
from streams.settings import Settings
from streams.stages import STAGES
from streams.topics import TOPICS

ROOT = Path(__file__).parents[2]
COMPOSE_FILE = ROOT / "docker-compose.yml"
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("sensorium:")}


def instructions(kind: str) -> Iterator[str]:
    """The arguments of all instructions of a kind."""
    yield from re.findall(rf"^{kind}\s+(.+)$", DOCKERFILE, flags=re.MULTILINE)


def variables(model: type[BaseModel], prefix: str = "SENSORIUM_") -> Iterator[str]:
    """Every environment variable that the settings read."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name.upper()}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from variables(field.annotation, f"{prefix}{name.upper()}__")


def default(value: str) -> str:
    """A value as compose sees it where the variables that it names are not set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


def test_the_file_follows_the_compose_schema() -> None:
    package = find_spec("check_jsonschema")
    assert package
    assert package.submodule_search_locations
    (folder,) = package.submodule_search_locations
    schema = json.loads((Path(folder) / "builtin_schemas" / "vendor" / "compose-spec.json").read_text())
    jsonschema.validate(COMPOSE, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"services": {"kafka": {"imagine": "apache/kafka"}}}, schema)


def test_every_variable_is_one_that_the_settings_read() -> None:
    known = set(variables(Settings))
    assert "SENSORIUM_LIMITS__MAX_PAGES" in known
    set_there = {name for service in OURS.values() for name in service["environment"]}
    set_there |= {name for line in instructions("ENV") for name in re.findall(r"(SENSORIUM_\w+)=", line)}
    set_there |= set(re.findall(r"SENSORIUM_\w+", COMPOSE_FILE.read_text()))
    assert "SENSORIUM_KAFKA" in set_there
    assert set_there <= known


@pytest.mark.parametrize("name", sorted(OURS))
def test_the_settings_accept_the_values_of_a_service(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in OURS[name]["environment"].items():
        monkeypatch.setenv(variable, default(value))
    settings = Settings()
    host, port = settings.kafka.split(":")
    assert f"INTERNAL://{host}:{port}" in SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert settings.milvus == "http://milvus:19530"
    assert settings.blobs == "file:///blobs"
    assert any(volume.split(":")[1] == "/blobs" for volume in OURS[name]["volumes"])
    grace_s = float(OURS[name]["stop_grace_period"].removesuffix("s"))
    assert grace_s > settings.drain_timeout_s + 5, "compose would kill a worker that still drains"


def test_every_stage_has_a_service_that_runs_it_alone() -> None:
    for stage in STAGES:
        assert OURS[stage]["command"] == ["worker", "--stage", stage]
    assert OURS.keys() == {*STAGES, "cli"}


@pytest.mark.parametrize("name", sorted(OURS))
def test_the_commands_parse(name: str) -> None:
    first, *rest = OURS[name]["command"]
    group = typer.main.get_command(app)
    command = group.get_command(typer.Context(group), first)  # type: ignore[attr-defined]  # it is a group
    assert command is not None
    command.make_context(first, rest)


def test_every_service_has_a_health_check_and_starts_after_what_it_needs() -> None:
    for name, service in SERVICES.items():
        assert "healthcheck" in service, name
        for needed, how in service.get("depends_on", {}).items():
            assert needed in SERVICES
            assert how == {"condition": "service_healthy"}
    for name in STAGES:
        assert OURS[name]["depends_on"].keys() == {"kafka", "milvus"}
        *_, module = OURS[name]["healthcheck"]["test"]
        assert (ROOT / f"{module.replace('.', '/')}.py").exists()


def test_volumes_are_declared_and_ports_are_on_loopback() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = default(volume).split(":")[0]
            assert (ROOT / source).is_dir() if source.startswith(".") else source in COMPOSE["volumes"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_kafka_is_the_version_of_the_pom_and_takes_our_largest_messages() -> None:
    pom = (ROOT / "pom.xml").read_text()
    version = re.search(r"kafka_2\.13</artifactId>\s*<version>([^<]+)<", pom)
    assert version
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{version[1]}"
    largest = max(topic.max_message_bytes for topic in TOPICS)
    assert int(SERVICES["kafka"]["environment"]["KAFKA_MESSAGE_MAX_BYTES"]) >= largest


def test_the_image_copies_what_exists_and_what_the_builder_gets() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {source for line in instructions("COPY") for source in line.split()[:-1]}
    assert copied == sent
    assert all((ROOT / source).exists() for source in copied)
    assert {"schemas", "workers", "streams", "requirements.lock"} <= copied


def test_the_image_runs_as_a_user_and_its_modules_exist() -> None:
    (user,) = instructions("USER")
    runs = " ".join(instructions("RUN"))
    assert user != "root"
    assert f"useradd --uid 10001 --create-home --home-dir /var/lib/sensorium {user}" in " ".join(shlex.split(runs))
    for module in re.findall(r"python -m (\S+)", runs):
        assert (ROOT / f"{module.replace('.', '/')}.py").exists()
    (entry,) = instructions("ENTRYPOINT")
    assert entry == '["sensorium"]'
    assert 'sensorium = "streams.cli:main"' in (ROOT / "pyproject.toml").read_text()


def test_a_container_is_healthy_once_its_worker_is_ready(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert not is_healthy(settings)
    state = WorkerState(pid=os.getpid(), stages=("embed",), state="starting", since_ms=time.time_ns() // 1_000_000)
    runtime.write_worker(tmp_path, state)
    assert not is_healthy(settings)
    runtime.write_worker(tmp_path, state.model_copy(update={"state": "ready"}))
    assert is_healthy(settings)
    runtime.forget_worker(tmp_path, state.pid)
    assert not is_healthy(settings)
