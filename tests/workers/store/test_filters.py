"""Filter expressions say what was meant, whatever the values hold."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from milvus_lite.search.filter import parse_expr
from milvus_lite.search.filter.ast import And, CmpOp, InOp

from schemas.media import Modality
from schemas.queries import Filters
from workers.errors import InvalidEvent
from workers.store import filters

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(TEXT)
@example('" or tenant != "')
@example("\\")
@example('\\" or 1 == 1 or "')
@example("\n\r\t\u2028")
@example("'{x}' %s like %")
def test_a_value_stays_a_value(value: str) -> None:
    parsed = parse_expr(filters.equals("tenant", value))
    assert isinstance(parsed, CmpOp)
    assert parsed.right.value == value


@given(st.lists(TEXT, min_size=1), TEXT)
def test_lists_keep_their_values(values: list[str], tenant: str) -> None:
    parsed = parse_expr(f"{filters.one_of('source', values)} and {filters.equals('tenant', tenant)}")
    assert isinstance(parsed, And)
    listed, compared = parsed.operands
    assert isinstance(listed, InOp)
    assert [literal.value for literal in listed.values.elements] == values
    assert compared.right.value == tenant


@pytest.mark.parametrize("value", ["a\0b", "\ud800"])
def test_text_that_no_store_holds_is_refused(value: str) -> None:
    with pytest.raises(InvalidEvent):
        filters.equals("tenant", value)


def test_only_known_fields() -> None:
    with pytest.raises(ValueError, match="no field"):
        filters.equals("tenant == 1 or tenant", "x")


def test_every_filter_of_a_query_is_there() -> None:
    wanted = Filters(
        modalities=(Modality.IMAGE, Modality.VIDEO), sources=("a",), document_ids=("d",), since_ms=5, until_ms=9
    )
    assert filters.of_query("t", wanted, ["picture"]) == (
        'shard in ["picture/t"] and tenant == "t" and modality in ["image", "video"] and source in ["a"]'
        ' and document_id in ["d"] and event_time_ms >= 5 and event_time_ms < 9'
    )


def test_an_empty_filter_still_names_the_tenant() -> None:
    assert 'tenant == "t"' in filters.of_query("t", Filters(), ["words"])
