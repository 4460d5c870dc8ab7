"""Text, Markdown and HTML into passages whose places are exact."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.media import Modality
from tests.workers.extract.fakes import FakeModels, drafts
from workers.errors import InvalidMedia, LimitExceeded
from workers.extract.draft import Draft, Source
from workers.extract.html import main_text
from workers.extract.markdown import markdown_blocks
from workers.extract.passages import MAX_TOKENS, MAX_WHOLE_TOKENS, count_tokens, paragraphs, passages, sentences
from workers.extract.text import decode, read_text
from workers.limits import Limits

STORY = " ".join(f"Sentence number {n} tells of the harbour, its ships and the {n} men on them." for n in range(60))

MARKDOWN = """# Harbour

Where ships *lie*.

## Rules

No fires.

```python
def moor(ship):
    return ship
```

| berth | depth |
| --- | --- |
| A | 12 m |

<script>
alert("x")
</script>

Ask the master.

## Empty

# Charts
"""


async def _read(text: str | bytes, content_type: str = "text/plain", name: str = "", charset: str = "") -> list[Draft]:
    data = text.encode() if isinstance(text, str) else text
    return await drafts(read_text(Source(data, content_type, name, charset), FakeModels(), Limits()))


async def test_a_short_text_is_one_passage() -> None:
    (only,) = await _read("  The ferry leaves at nine. \n", name="ferry.txt")
    assert only.text == "The ferry leaves at nine."
    assert (only.start_char, only.end_char) == (2, 27)
    assert (only.title, only.modality) == ("ferry.txt", Modality.TEXT)


async def test_long_paragraphs_are_cut_at_sentences_with_one_of_overlap() -> None:
    found = await _read(STORY)
    assert len(found) > 4
    for before, after in pairwise(found):
        assert before.end_char is not None
        assert after.start_char is not None
        shared = STORY[after.start_char : before.end_char]
        assert shared.startswith("Sentence number")
        assert shared.count("Sentence") == 1
    for draft in found:
        assert STORY[draft.start_char : draft.end_char] == draft.text
        assert 40 <= len(draft.text.split()) <= 180
        assert count_tokens(draft.text) <= MAX_TOKENS + 30


async def test_paragraphs_are_kept_together_while_they_are_short() -> None:
    found = await _read("One.\n\nTwo.\n\nThree.")
    assert [draft.text for draft in found] == ["One.\n\nTwo.\n\nThree."]


def test_markdown_titles_blocks_and_places() -> None:
    found = [(MARKDOWN[p.start : p.end], p.title) for p in passages(MARKDOWN, markdown_blocks(MARKDOWN, "f.md"))]
    texts = [text for text, _ in found]
    assert found[0] == ("Where ships *lie*.", "Harbour")
    assert found[1][1] == "Harbour > Rules"
    assert "def moor(ship):\n    return ship\n```" in texts[1]
    assert "| A | 12 m |" in texts[1]
    assert texts[2] == "Ask the master."
    assert ("## Empty", "Harbour") in found
    assert ("# Charts", "f.md") in found
    assert "alert" not in "".join(texts)


def test_markdown_lines_end_as_the_parser_counts_them() -> None:
    text = "# A\r\n\r\nfirst\u2028still first\r\n\r\nsecond\rthird"
    (only,) = passages(text, markdown_blocks(text))
    assert text[only.start : only.end] == "first\u2028still first\r\n\r\nsecond\rthird"
    assert only.title == "A"


def test_code_stays_whole_up_to_a_bound() -> None:
    small = "```\n" + "\n".join(f"line_{n} = {n}" for n in range(30)) + "\n```"
    large = "```\n" + "\n".join(f"line_{n} = {n}" for n in range(900)) + "\n```"
    assert len(list(passages(small, markdown_blocks(small)))) == 1
    pieces = list(passages(large, markdown_blocks(large)))
    assert len(pieces) > 5
    assert all(count_tokens(large[p.start : p.end]) <= MAX_WHOLE_TOKENS + 30 for p in pieces)


async def test_html_keeps_the_story_and_no_script() -> None:
    page = f"""<html><head><title>Harbour  news</title><script>evil()</script><style>p {{}}</style></head><body>
    <nav><a href="/">Home</a><a href="/x">More</a></nav>
    <article><h1>Ships</h1><p>{STORY}</p><h2>Prices</h2><p>{STORY}</p></article>
    <script>evil()</script></body></html>"""
    found = await _read(page, "text/html")
    everything = "\n".join(draft.text for draft in found)
    assert "Sentence number 59" in everything
    assert "evil" not in everything
    assert "Ships > Prices" in {draft.title for draft in found} or "Prices" in {draft.title for draft in found}


def test_a_small_page_gives_all_that_is_visible() -> None:
    title, text = main_text(
        "<html><head><title>T</title></head><body><p>One <b>two</b></p><div>three<script>x</script></div>"
    )
    assert (title, text) == ("T", "One two\n\nthree")


@pytest.mark.parametrize(
    ("data", "charset", "expected"),
    [
        ("Grüße".encode(), "", "Grüße"),
        (b"\xef\xbb\xbfGr\xc3\xbc\xc3\x9fe", "", "Grüße"),
        ("Grüße".encode("utf-16"), "", "Grüße"),
        ("Grüße".encode("utf-32"), "", "Grüße"),
        ("Viele Grüße".encode("latin-1"), "", "Viele Grüße"),
        ("Привет".encode("koi8-r"), "koi8-r", "Привет"),
        ("Grüße".encode(), "no-such-charset", "Grüße"),
        ("Grüße".encode(), "base64", "Grüße"),
    ],
)
def test_encodings(data: bytes, charset: str, expected: str) -> None:
    assert decode(data, charset) == expected


@pytest.mark.parametrize("data", [b"a\0b", bytes(range(1, 32)) * 9, "Привет".encode("koi8-r") * 9, b"\xff\xfea"])
def test_what_is_no_text_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidMedia) as caught:
        decode(data)
    assert "UTF-8" in caught.value.hint


async def test_a_text_beyond_its_bounds_is_refused() -> None:
    source = Source(b"Words. " * 1000, "text/plain")
    for limits in (Limits(max_text_chars=1000), Limits(max_chunks=2)):
        with pytest.raises(LimitExceeded, match="more than"):
            await drafts(read_text(source, FakeModels(), limits))


def test_hostile_text_takes_no_time() -> None:
    began = time.perf_counter()
    for text in (
        "(" * 300_000,
        "a" * 300_000,
        ">" * 100_000,
        "[" * 100_000,
        "`" * 100_000,
        "a. " * 100_000,
        "*" * 200_000,
        "# " + " " * 200_000 + "x",
        "# " + "[" * 200_000,
    ):
        list(passages(text, paragraphs(text)))
        list(passages(text, markdown_blocks(text)))
    assert time.perf_counter() - began < 20


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab.!? \n\r\t#|-`*<>é漢。(\"'1"), max_size=600))
def test_places_are_always_exact(text: str) -> None:
    for blocks in (paragraphs(text), list(markdown_blocks(text))):
        for found in passages(text, blocks):
            said = text[found.start : found.end]
            assert said == said.strip() != ""
    covered = {place for found in passages(text, paragraphs(text)) for place in range(found.start, found.end)}
    assert all(text[place].isspace() for place in range(len(text)) if place not in covered)


def test_sentences_keep_their_places() -> None:
    text = 'Dr. Smith left 😀. He said "Hi!" Then 3.5 m more.'
    assert [text[start:end] for start, end in sentences(text)] == [
        "Dr. Smith left 😀.",
        'He said "Hi!"',
        "Then 3.5 m more.",
    ]
