"""A Kafka that wants a name, a password and TLS: the whole way works, and who is not let in is told so at once."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from streams import kafka_java
from streams.child import Child
from streams.client import AskOptions, Client
from streams.environment import to_environment
from streams.publisher import Publisher
from streams.runtime import running
from streams.security import kafka_address
from streams.settings import Settings
from tests.conftest import needs_kafka
from workers.errors import AccessDenied

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(200),
    *needs_kafka,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates"),
]

USER, PASSWORD = "sensorium", "a password that nobody may read"
PRODUCER, SECRET = "newsroom", "a secret that nobody may read"
SOON_S = 20.0
LISTENER = f"""\
inter.broker.listener.name=SASL_SSL
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
username="broker" password="broker" user_broker="broker" user_{USER}="{PASSWORD}";
ssl.keystore.type=PEM
ssl.keystore.location=KEYSTORE
ssl.truststore.type=PEM
ssl.truststore.location=AUTHORITY
"""


@dataclass(frozen=True)
class Secured:
    """Where it is, and who signed its certificate."""

    servers: str
    authority: Path


def _openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)  # made here


def certificates(folder: Path) -> tuple[Path, Path]:
    """An authority, and a file with a key and a certificate for 127.0.0.1 that it has signed."""
    new_key = ["-newkey", "rsa:2048", "-nodes"]
    _openssl(folder, "req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=ca")
    _openssl(folder, "req", *new_key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=127.0.0.1")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names"]
    _openssl(folder, "x509", "-req", "-in", "server.csr", *signed, "-out", "server.pem")
    store = folder / "keystore.pem"
    store.write_text((folder / "server.key").read_text() + (folder / "server.pem").read_text())
    return folder / "ca.pem", store


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    authority, store = certificates(folder)
    plain = kafka_java.PROPERTIES
    listening = plain.replace("PLAINTEXT://", "SASL_SSL://", 1).replace(
        "advertised.listeners=PLAINTEXT://", "advertised.listeners=SASL_SSL://"
    )
    mapped = listening.replace("protocol.map=PLAINTEXT:PLAINTEXT", "protocol.map=SASL_SSL:SASL_SSL")
    with pytest.MonkeyPatch.context() as patch:
        more = LISTENER.replace("KEYSTORE", str(store)).replace("AUTHORITY", str(authority))
        patch.setattr(kafka_java, "PROPERTIES", mapped + more)
        child, servers = asyncio.run(kafka_java.start_kafka(folder))
    try:
        yield Secured(servers, authority)
    finally:
        asyncio.run(child.stop())


def settings_for(secured: Secured, data_dir: Path, **changes: object) -> Settings:
    given: dict[str, object] = {
        "data_dir": data_dir,
        "kafka": secured.servers,
        "kafka_security": "SASL_SSL",
        "kafka_mechanism": "PLAIN",
        "kafka_username": USER,
        "kafka_password": SecretStr(PASSWORD),
        "kafka_ca": secured.authority,
        "producers": {PRODUCER: {"tenant": "news", "secret": SECRET}},
        "producer": PRODUCER,
        "producer_secret": SecretStr(SECRET),
        "profile": "fake",
        "generator": "extractive",
    }
    return Settings.model_validate(given | changes)


@pytest.fixture
async def up(secured: Secured, tmp_path: Path) -> AsyncIterator[Settings]:
    """``sensorium up`` on the secured Kafka."""
    settings = settings_for(secured, tmp_path)
    child = Child.start("up", _command("up"), log=tmp_path / "up.log", env=to_environment(settings))
    try:
        yield settings
    finally:
        await child.stop(60)


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "streams", *words]


async def test_publish_and_ask_over_tls_with_a_password_that_nobody_can_read(up: Settings) -> None:
    async with Client(up, ready_timeout_s=90) as client:
        published = await client.publish(b"The ferry leaves at noon from the old harbour.", tenant="news")
        assert await client.searchable([published], 60) == []
        [first, *_] = await client.search("When does the ferry leave?", AskOptions(tenant="news"))
        assert first.document_id == published.document_id
        await _nobody_speaks_for_another(client)
    found = running(up.data_dir)
    assert found
    for pid in (found.pid, *found.pids.values()):
        line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        assert PASSWORD not in line
        assert SECRET not in line
    files = [path for path in up.data_dir.rglob("*") if path.is_file() and not path.name.endswith(".key")]
    assert len(files) > 10
    for secret in (PASSWORD, SECRET):
        assert not [path for path in files if secret.encode() in path.read_bytes()]


async def _nobody_speaks_for_another(client: Client) -> None:
    forged = await client.publish(b"The ferry is cancelled.", tenant="sports")
    gone = await client.delete_all(tenant="sports")
    refused = await client.searchable([forged, gone], 60)
    assert ["newsroom' may not speak for the tenant 'sports'" in step.reason for step in refused] == [True, True]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kafka_password": SecretStr("not the password")}, "does not let us in"),
        ({"kafka_ca": None}, "certificate"),
        ({"kafka_mechanism": "SCRAM-SHA-512"}, "does not let us in"),
    ],
)
async def test_who_is_not_let_in_is_told_so(
    secured: Secured, tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    settings = settings_for(secured, tmp_path, **changes)
    began = time.monotonic()
    with pytest.raises(AccessDenied, match=reason) as denied:
        await Publisher(kafka_address(secured.servers, settings)).start()
    assert time.monotonic() - began < SOON_S
    assert "SENSORIUM_KAFKA_" in denied.value.hint
    assert settings.kafka_password.get_secret_value() not in str(denied.value)


async def test_a_worker_that_is_not_let_in_ends_and_says_why(secured: Secured, tmp_path: Path) -> None:
    settings = settings_for(
        secured, tmp_path, kafka_password=SecretStr("not the password"), milvus="http://127.0.0.1:1"
    )
    child = Child.start(
        "worker", _command("worker", "--stage", "embed"), log=tmp_path / "w", env=to_environment(settings)
    )
    assert await asyncio.wait_for(child.wait(), SOON_S + 20) == 1
    printed = (tmp_path / "w").read_text()
    assert "does not let us in" in printed
    assert "not the password" not in printed
