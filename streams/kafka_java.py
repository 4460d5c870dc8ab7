"""Apache Kafka on this machine: one KRaft node, on disk, from the jars of ``pom.xml``.

``python -m streams.kafka_java prepare`` (``make kafka``) lets Maven copy the jars beside the virtual environment once;
nothing is fetched when Kafka starts. Raises ``ChildFailed`` that names what is missing and what to type.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from streams.child import Child, ChildFailed, free_ports

START_TIMEOUT_S = 60.0
MIN_JAVA = 17
JVM = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
"""Starts in half of the time that the defaults take, in as much memory."""
CLUSTER_ID = "c2Vuc29yaXVtLW9uZS1ub2Q"  # 16 bytes in base64, any will do for one node
POM = Path(__file__).parent.parent / "pom.xml"
_INSTALL = "on Debian: sudo apt-get install default-jre-headless maven · on macOS: brew install openjdk@17 maven"

# After a crash a broker is let in again only when its old session has ended, hence the short one.
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
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
log.cleaner.dedupe.buffer.size=16777216
num.io.threads=4
num.network.threads=2
"""


def jar_dir() -> Path:
    """Where the jars lie: they belong to the installation."""
    return Path(sys.prefix) / "share" / "sensorium" / "kafka"


def is_prepared(pom: Path = POM) -> bool:
    """Whether the jars are those that the pom names."""
    version = re.search(r"kafka_2\.13</artifactId>\s*<version>([^<]+)<", pom.read_text())
    return version is not None and (jar_dir() / f"kafka_2.13-{version[1]}.jar").exists()


def prepare(pom: Path = POM) -> None:
    """Let Maven copy the jars, unless they are there. Raises ``ChildFailed``."""
    if is_prepared(pom):
        return
    target = jar_dir()
    draft = target.with_name(".kafka-draft")  # half of the jars must not look like all of them
    shutil.rmtree(draft, ignore_errors=True)
    command = [_tool("mvn", "Maven"), "--quiet", "--batch-mode", "--file", str(pom), "dependency:copy-dependencies"]
    command.append(f"-DoutputDirectory={draft}")
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603  # our own command line
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if "ERROR" in line]
        raise ChildFailed(f"Maven could not fetch Kafka's jars: {' '.join(lines)[:600]}", hint="is Maven Central open?")
    shutil.rmtree(target, ignore_errors=True)
    draft.rename(target)


async def start_kafka(data_dir: Path, *, port: int = 0, keep_open: Sequence[int] = ()) -> tuple[Child, str]:
    """Start Kafka on ``<data_dir>/kafka``; the child and its bootstrap address."""
    java = await _java()
    if not is_prepared():
        raise ChildFailed("the jars of Apache Kafka are not here", hint="type `make kafka` once")
    (port, controller) = (port, *free_ports(1)) if port else free_ports(2)
    folder = (data_dir / "kafka").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    properties = folder / "server.properties"
    properties.write_text(PROPERTIES.format(port=port, controller=controller, logs=folder / "log"))
    run = [java, *JVM, "-cp", f"{jar_dir()}/*"]
    log = data_dir / "logs" / "broker.log"
    if not (folder / "log" / "meta.properties").exists():
        await _format(run, properties, log)
    child = await Child.serve(
        "Apache Kafka",
        [*run, "kafka.Kafka", str(properties)],
        port=port,
        timeout_s=START_TIMEOUT_S,
        log=log,
        keep_open=keep_open,
    )
    return child, f"127.0.0.1:{port}"


async def _format(run: Sequence[str], properties: Path, log: Path) -> None:
    """Lay out an empty storage."""
    tool = [*run, "kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER_ID, "--config", str(properties)]
    child = Child.start("Kafka's storage tool", tool, log=log)
    try:
        code = await asyncio.wait_for(child.wait(), START_TIMEOUT_S)
    finally:
        child.kill()
    if code:
        raise ChildFailed(f"Kafka's storage could not be formatted: {child.last_words()}", hint=f"its log is {log}")


async def _java() -> str:
    """A Java that is new enough."""
    path = _tool("java", f"Java {MIN_JAVA}")
    process = await asyncio.create_subprocess_exec(
        path, "-version", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    printed, _ = await process.communicate()
    version = re.search(rb'version "(\d+)', printed)
    if version is None or int(version[1]) < MIN_JAVA:
        found = printed.decode(errors="replace").partition("\n")[0]
        raise ChildFailed(f"Apache Kafka needs Java {MIN_JAVA} or newer, and {path} is {found!r}", hint=_INSTALL)
    return path


def _tool(command: str, name: str) -> str:
    path = shutil.which(command)
    if path is None:
        raise ChildFailed(f"Apache Kafka needs {name}, and `{command}` is not installed", hint=_INSTALL)
    return path


def main(arguments: Sequence[str]) -> int:
    """``prepare`` copies the jars; the exit code."""
    if list(arguments) != ["prepare"]:
        sys.stderr.write("usage: python -m streams.kafka_java prepare\n")
        return 2
    try:
        prepare()
    except ChildFailed as error:
        sys.stderr.write(f"error: {error.reason}\nhint: {error.hint}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
