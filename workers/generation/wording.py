"""Answers without a model: what the evidence says, shows or lets hear, and where, each with its citation marker.

In: evidence. Out: sentences such as ``At 0:05–0:09 in talk.flac one hears: “…” [2].`` Raises nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from schemas.chunks import Box, Channel
from schemas.media import Modality
from schemas.queries import Evidence
from workers.extract.draft import file_name

ABSTENTION = "The collection does not hold an answer to this."
"""What an answer says that abstains."""

WORDED = frozenset({Channel.TEXT, Channel.SPEECH})
"""Channels whose evidence is a quotation."""

AS_GOOD = 0.8
"""Evidence of at least this share of the best score is part of the answer, too."""
COMPANION = 0.5
"""A picture or a sound joins words from this share on: it says what words cannot."""
SURE = 0.5
"""Evidence below this is said to be doubtful: of 47 captions whose best candidate was between 0.25 and 0.5, it was
right for 11; of 51 above, for 30."""
MOST_QUOTED = 3
"""Pieces of evidence in one answer; all of them stand in the list beside it."""
MOST_CHARS = 320
"""A longer quotation ends with an ellipsis; the whole of it is in the evidence."""
_LIVE = "#t=clock:"
"""In the source of a feed's documents: a media fragment in wall-clock time."""


def composed(evidence: Sequence[Evidence]) -> list[Evidence]:
    """What the extractive answer quotes, best first; one sentence each (``stated``)."""
    best = evidence[0]
    chosen = [best, *(piece for piece in evidence[1:] if piece.score >= AS_GOOD * best.score)][: MOST_QUOTED - 1]
    return [*chosen, *companions(chosen, evidence)]


def companions(chosen: Sequence[Evidence], evidence: Sequence[Evidence]) -> list[Evidence]:
    """The best picture or sound, if all that is chosen is words and it is strong enough beside them."""
    if not all(piece.channel in WORDED for piece in chosen):
        return []
    others = [p for p in evidence if p.channel not in WORDED and p.score >= COMPANION * evidence[0].score]
    return others[:1]


def stated(evidence: Evidence) -> str:
    """One sentence: where it is, and what is there."""
    what, mark = quotable(evidence.text), f"[{evidence.number}]"
    where = place(evidence) if evidence.score >= SURE else f"Perhaps: {place(evidence)}"
    match evidence.channel:
        case Channel.TEXT:
            verb = "says" if evidence.modality is Modality.TEXT else "reads"
            return f"{where} {verb}: “{what}” {mark}."
        case Channel.SPEECH:
            return f"{where} someone says: “{what}” {mark}."
        case Channel.SOUND:
            return f"{where} one hears: {what} {mark}."
        case Channel.PICTURE:
            return f"{where} shows: {what}{_corner(evidence)} {mark}."


def place(evidence: Evidence) -> str:
    """``Page 2 of report.pdf``, ``handbook.md (Shifts)``, ``At 0:05–0:09 in talk.flac``."""
    name = source_name(evidence)
    if evidence.page is not None and evidence.content_type not in ("image/png", "image/jpeg"):
        return f"Page {evidence.page} of {name}"
    if evidence.start_ms is not None and evidence.end_ms is not None:
        span = _span(evidence, evidence.start_ms, evidence.end_ms)
        return f"At {span}, {name}" if evidence.channel in (Channel.PICTURE, Channel.TEXT) else f"At {span} in {name}"
    if evidence.channel is Channel.TEXT and evidence.title and evidence.title != name:
        return f"{name} ({quotable(evidence.title)})"
    return name


def source_name(evidence: Evidence) -> str:
    """The file's name, or the feed's; the document's id where there is neither."""
    name = evidence.source if _LIVE in evidence.source_uri else file_name(evidence.source_uri)
    return quotable(name or evidence.document_id)


def quotable(text: str) -> str:
    """``text`` as it can stand in an answer: one line, no brackets that look like a citation, not too long."""
    line = " ".join(text.replace("[", "(").replace("]", ")").strip(" |\n").split())
    if len(line) <= MOST_CHARS:
        return line
    return line[:MOST_CHARS].rsplit(" ", 1)[0].rstrip(",;:") + " …"


def timecode(ms: int) -> str:
    """``0:05``, ``1:02:03``: as players show it."""
    minutes, seconds = divmod(ms // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _span(evidence: Evidence, start_ms: int, end_ms: int) -> str:
    """Seconds of a recording, rounded outwards; the wall clock of a live feed."""
    if _LIVE in evidence.source_uri:
        begins, ends = (
            datetime.fromtimestamp((evidence.event_time_ms + after) / 1000, UTC) for after in (0, end_ms - start_ms)
        )
        return f"{begins:%Y-%m-%d %H:%M:%S}–{ends:%H:%M:%S} UTC"
    return f"{timecode(start_ms)}–{timecode(end_ms + 999)}"


def _corner(evidence: Evidence) -> str:
    """Where in the picture, in words, if the box is a part of it."""
    if evidence.box is None or _area(evidence.box) > 0.6:
        return ""
    x0, y0, x1, y1 = evidence.box
    across, down = (x0 + x1) / 2, (y0 + y1) / 2
    row = "top" if down < 0.4 else "bottom" if down > 0.6 else ""
    column = "left" if across < 0.4 else "right" if across > 0.6 else ""
    where = " ".join(word for word in (row, column) if word) or "middle"
    return f" (in the {where})" if where == "middle" else f" (at the {where})"


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
