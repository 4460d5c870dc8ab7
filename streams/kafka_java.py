"""Apache Kafka on this machine: one KRaft node, on disk, from the jars of ``pom.xml``.

``python -m streams.kafka_java prepare`` (``make kafka``) lets Maven copy the jars beside the virtual environment once;
nothing is fetched when Kafka starts. Raises ``ChildFailed`` that names what is missing and what to type.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

from streams.child import Child, ChildFailed, free_port

START_TIMEOUT_S = 60.0
HEAP = "-Xmx512m"
CLUSTER_ID = "c2Vuc29yaXVtLW9uZS1ub2Q"  # 16 bytes in base64, any will do for one node
_INSTALL = "on Debian: sudo apt-get install default-jre-headless maven · on macOS: brew install openjdk@17 maven"

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={logs}
auto.create.topics.enable=false
message.max.bytes=16777216
replica.fetch.max.bytes=16777216
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
num.io.threads=4
num.network.threads=2
"""


def jar_dir() -> Path:
    """Where the jars lie: they belong to the installation."""
    return Path(sys.prefix) / "share" / "sensorium" / "kafka"


def prepare(pom: Path) -> None:
    """Let Maven copy the jars. Raises ``ChildFailed``."""
    target = jar_dir()
    if any(target.glob("kafka_2.13-*.jar")):
        return
    maven = _tool("mvn", "Maven")
    command = [maven, "--quiet", "--batch-mode", "--file", str(pom), "dependency:copy-dependencies"]
    done = subprocess.run([*command, f"-DoutputDirectory={target}"], check=False, capture_output=True, text=True)  # noqa: S603  # our own command line
    if done.returncode:
        raise ChildFailed(
            f"Maven could not fetch Kafka's jars: {done.stdout[-400:]}", hint="is Maven Central reachable?"
        )


async def start_kafka(data_dir: Path, *, port: int = 0) -> tuple[Child, str]:
    """Start Kafka on ``<data_dir>/kafka``; the child and its bootstrap address."""
    java = _tool("java", "Java 17 or newer")
    if not any(jar_dir().glob("kafka_2.13-*.jar")):
        raise ChildFailed("the jars of Apache Kafka are not here", hint="type `make kafka` once")
    port = port or free_port()
    folder = (data_dir / "kafka").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    properties = folder / "server.properties"
    properties.write_text(PROPERTIES.format(port=port, controller=free_port(), logs=folder / "log"))
    run = [java, HEAP, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{jar_dir()}/*"]
    log = data_dir / "logs" / "broker.log"
    if not (folder / "log" / "meta.properties").exists():
        await _format(run, properties, log)
    child = await Child.start("Apache Kafka", [*run, "kafka.Kafka", str(properties)], log=log)
    await child.listening(port, START_TIMEOUT_S)
    return child, f"127.0.0.1:{port}"


async def _format(run: list[str], properties: Path, log: Path) -> None:
    tool = [*run, "kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER_ID, "--config", str(properties)]
    child = await Child.start("Kafka's storage tool", tool, log=log)
    if await asyncio.wait_for(child.wait(), START_TIMEOUT_S):
        raise ChildFailed(f"Kafka's storage could not be formatted: {child.last_words()}", hint=f"its log is {log}")


def _tool(command: str, name: str) -> str:
    path = shutil.which(command)
    if path is None:
        raise ChildFailed(f"{name} is not installed, and Apache Kafka needs it", hint=_INSTALL)
    return path


def main() -> int:
    """``prepare``: copy the jars."""
    try:
        prepare(Path(__file__).parent.parent / "pom.xml")
    except ChildFailed as error:
        sys.stderr.write(f"error: {error.reason}\nhint: {error.hint}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
