"""Tenants are kept apart, on a real milvus-lite; and the test that says so can fail."""

from __future__ import annotations

import os

import pytest

from tests.faults import tenants
from tests.workers.made import DIMENSION
from workers.store import filters

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

EXAMPLES = 2000 if os.environ.get("SENSORIUM_FULL") else 150


def test_no_tenant_reaches_another(milvus_uri: str) -> None:
    assert tenants.run(milvus_uri, EXAMPLES, DIMENSION) >= EXAMPLES


def test_without_the_filter_they_would(milvus_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each place that adds the tenant is needed."""
    real = filters.equals

    def everybody(field: str, value: str) -> str:
        return "version >= 0" if field == "tenant" else real(field, value)

    monkeypatch.setattr(filters, "equals", everybody)
    monkeypatch.setattr(filters, "shard", lambda tenant, group: f"{group}/x")
    monkeypatch.setattr(filters, "one_of", lambda field, values: "version >= 0")
    with pytest.raises(AssertionError, match="crosses by"):
        tenants.run(milvus_uri, 5, DIMENSION, collection="crossing")
