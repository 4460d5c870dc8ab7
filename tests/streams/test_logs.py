"""Log lines: JSON with the ids of the work, the libraries' own lines among them."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import logging
import structlog
from streams import logs
logs.configure(level="info", fmt="json", stage="embed")
with structlog.contextvars.bound_contextvars(document_id="d1", trace_id="abc"):
    structlog.get_logger("ours").info("event.done")
    logging.getLogger("aiokafka").error("Heartbeat %s", "failed")
    logging.getLogger("aiokafka").warning("never seen")
try:
    1 / 0
except ZeroDivisionError:
    structlog.get_logger().exception("batch.failed")
"""


def test_every_line_is_json_with_its_ids() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    done, theirs, failed = map(json.loads, ran.stderr.splitlines())
    assert (done["event"], done["level"], done["stage"]) == ("event.done", "info", "embed")
    assert (done["document_id"], done["trace_id"]) == ("d1", "abc")
    assert (theirs["event"], theirs["level"], theirs["document_id"]) == ("Heartbeat failed", "error", "d1")
    assert "ZeroDivisionError" in failed["exception"]
    assert ran.stdout == ""
