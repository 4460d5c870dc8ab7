"""Does a Kafka record agree with the published contract? Knows ``docs/asyncapi.json`` and nothing of our models."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it ships no types

from tests.readme_map import ROOT

Headers = tuple[tuple[str, bytes | None], ...]


@cache
def contract() -> dict[str, Any]:
    """The contract as people get it."""
    found: dict[str, Any] = json.loads((ROOT / "docs" / "asyncapi.json").read_text(encoding="utf-8"))
    return found


def check(topic: str, headers: Headers, value: bytes | None) -> str:
    """The name of the message that the record is. Raises ``jsonschema.ValidationError`` where it disagrees."""
    attributes = {name: (content or b"").decode() for name, content in headers}
    names = contract()["channels"][topic]["messages"]
    messages = {name: contract()["components"]["messages"][name] for name in names}
    name: str = next(name for name, message in messages.items() if message["name"] == attributes["ce_type"])
    _validate(attributes, messages[name]["headers"])
    if messages[name]["contentType"] == "application/json":
        _validate(json.loads(value or b""), messages[name]["payload"])
    return name


def _validate(instance: object, schema: dict[str, Any]) -> None:
    whole = {**schema, "components": contract()["components"]}
    jsonschema.Draft202012Validator(whole, format_checker=jsonschema.FormatChecker()).validate(instance)
