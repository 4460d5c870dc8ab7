"""How Kafka and Milvus let us in: SASL, TLS, tokens. One place for every client.

``kafka_address`` makes an address that knows its credentials. It is a string like any other, so that it passes through
everything that takes bootstrap servers; whoever connects asks ``client_options`` (aiokafka) or ``faust_credentials``
with it. An address that lost its credentials on the way is refused by the broker, so a mistake closes the door rather
than opens it. Raises ``AccessDenied`` where a server does not let us in, ``SensoriumError`` for files that cannot be
read.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workers.errors import AccessDenied, SensoriumError, TransientError

if TYPE_CHECKING:
    from streams.settings import Settings

PROBE_S = 5.0


@dataclass(frozen=True)
class KafkaAccess:
    """What a connection to Kafka needs. The password is in no representation of it."""

    protocol: str = "PLAINTEXT"
    mechanism: str = "PLAIN"
    username: str = ""
    password: str = ""
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    key_password: str = ""
    checks_hostname: bool = True

    def __repr__(self) -> str:
        return f"KafkaAccess({self.described})"

    @property
    def described(self) -> str:
        """For people."""
        return f"{self.protocol} as {self.username!r} by {self.mechanism}" if self.uses_sasl else self.protocol

    @property
    def uses_sasl(self) -> bool:
        """Whether a name and a password are asked for."""
        return self.protocol.startswith("SASL")

    @cached_property
    def tls(self) -> ssl.SSLContext | None:
        """``None`` where the connection is in the clear. Raises ``SensoriumError`` for files that cannot be read."""
        if not self.protocol.endswith("SSL"):
            return None
        try:
            context = ssl.create_default_context(cafile=None if self.ca is None else str(self.ca))
            if self.cert is not None:
                context.load_cert_chain(self.cert, self.key, lambda: self.key_password)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(str(path) for path in (self.ca, self.cert, self.key) if path)
            raise SensoriumError(
                f"the certificates for Kafka cannot be read: {error} ({files})",
                hint="SENSORIUM_KAFKA_CA, SENSORIUM_KAFKA_CERT and SENSORIUM_KAFKA_KEY name PEM files",
            ) from error
        context.check_hostname = self.checks_hostname
        return context


_OPEN = KafkaAccess()


class KafkaAddress(str):
    """Bootstrap servers, and how they let us in."""

    __slots__ = ("access",)

    access: KafkaAccess


def kafka_address(servers: str, settings: Settings) -> KafkaAddress:
    """``servers`` with the credentials of the settings."""
    address = KafkaAddress(servers)
    address.access = KafkaAccess(
        protocol=settings.kafka_security,
        mechanism=settings.kafka_mechanism,
        username=settings.kafka_username,
        password=settings.kafka_password.get_secret_value(),
        ca=settings.kafka_ca,
        cert=settings.kafka_cert,
        key=settings.kafka_key,
        key_password=settings.kafka_key_password.get_secret_value(),
        checks_hostname=settings.kafka_check_hostname,
    )
    return address


def access_of(servers: str) -> KafkaAccess:
    """The credentials of an address; a plain string has none."""
    return servers.access if isinstance(servers, KafkaAddress) else _OPEN


def client_options(servers: str) -> dict[str, Any]:
    """What every aiokafka client is made with."""
    return {"bootstrap_servers": str(servers), **_connection_options(access_of(servers))}


def _connection_options(access: KafkaAccess) -> dict[str, Any]:
    options: dict[str, Any] = {"security_protocol": access.protocol, "ssl_context": access.tls}
    if access.uses_sasl:
        options |= {
            "sasl_mechanism": access.mechanism,
            "sasl_plain_username": access.username,
            "sasl_plain_password": access.password,
        }
    return options


def faust_credentials(servers: str) -> Any:
    """What a Faust app has as ``broker_credentials``; ``None`` for an open broker."""
    from faust.auth import SASLCredentials, SSLCredentials

    access = access_of(servers)
    if access.uses_sasl:
        return SASLCredentials(
            username=access.username, password=access.password, mechanism=access.mechanism, ssl_context=access.tls
        )
    return SSLCredentials(access.tls) if access.tls else None


async def unreachable(servers: str, error: Exception) -> TransientError | AccessDenied:
    """Why there is no connection: ``AccessDenied`` where the server answers and does not let us in."""
    access = access_of(servers)
    refusal = await _refusal(servers, access) if access.protocol != "PLAINTEXT" else ""
    if refusal:
        return AccessDenied(
            f"Kafka at {servers} does not let us in ({access.described}): {refusal}",
            hint="check SENSORIUM_KAFKA_USERNAME, SENSORIUM_KAFKA_PASSWORD, SENSORIUM_KAFKA_MECHANISM"
            if access.uses_sasl and "certificate" not in refusal.lower()
            else "check SENSORIUM_KAFKA_CA, and whether the certificate is for this host name",
        )
    hint = "is `sensorium up` running? or set SENSORIUM_KAFKA; SENSORIUM_KAFKA_SECURITY where it wants SASL or TLS"
    return TransientError(f"no Kafka answers at {servers}: {error}", hint=hint)


async def _refusal(servers: str, access: KafkaAccess) -> str:
    """What the first server that answers says against us. aiokafka tells only that it could not connect."""
    from aiokafka.conn import collect_hosts, create_conn
    from aiokafka.errors import AuthenticationFailedError, KafkaError, SaslAuthenticationFailed
    from aiokafka.errors import UnsupportedSaslMechanismError as UnknownMechanism

    for host, port, _ in collect_hosts(str(servers)):
        try:
            async with asyncio.timeout(PROBE_S):
                (await create_conn(host, port, **_connection_options(access))).close()
        except ssl.SSLError as error:
            return f"TLS: {error.reason or error}" if not isinstance(error, ssl.CertificateError) else str(error)
        except (AuthenticationFailedError, SaslAuthenticationFailed, UnknownMechanism) as error:
            return str(error) or type(error).__name__
        except (KafkaError, OSError, ValueError):
            continue  # away, or of another kind: the other servers may know
        else:
            return ""
    return ""


def milvus_options(settings: Settings) -> dict[str, Any]:
    """What pymilvus's clients need for TLS; ``https://`` in the address turns it on."""
    options = {
        "server_pem_path": settings.milvus_ca if settings.milvus_cert is None else None,
        "ca_pem_path": settings.milvus_ca if settings.milvus_cert is not None else None,
        "client_pem_path": settings.milvus_cert,
        "client_key_path": settings.milvus_key,
        "server_name": settings.milvus_server_name,
    }
    return {name: str(value) for name, value in options.items() if value}
