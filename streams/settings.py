"""One frozen settings object, built at start-up from ``SENSORIUM_*`` variables and ``sensorium.toml``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from schemas.generations import FIRST
from streams.tenancy import Producer
from workers.limits import Limits


class Settings(BaseSettings):
    """Everything that can be set. Workers never see it: they take plain arguments."""

    model_config = SettingsConfigDict(
        env_prefix="SENSORIUM_",
        env_nested_delimiter="__",
        toml_file="sensorium.toml",
        frozen=True,
        extra="forbid",
    )

    data_dir: Path = Field(Path(".sensorium"), description="state of this machine: addresses, index, blobs, logs")

    kafka: str = Field("", description="bootstrap servers; empty: the broker that `sensorium up` started")
    kafka_security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="how Kafka is reached"
    )
    kafka_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="how name and password are shown to Kafka, with SASL"
    )
    kafka_username: str = ""
    kafka_password: SecretStr = SecretStr("")
    kafka_ca: Path | None = Field(None, description="PEM file of who signs Kafka's certificates; none: the system's")
    kafka_cert: Path | None = Field(None, description="PEM file of our own certificate, where Kafka asks for one")
    kafka_key: Path | None = Field(None, description="PEM file of its key; none: it lies in the certificate's")
    kafka_key_password: SecretStr = SecretStr("")
    kafka_check_hostname: bool = Field(True, description="whether Kafka's certificate must be for the host's name")
    milvus: str = Field("", description="URI of Milvus; empty: the store that `sensorium up` started")
    milvus_token: SecretStr = Field(SecretStr(""), description="user:password, or an API key")
    milvus_ca: Path | None = Field(
        None, description="PEM file of who signs Milvus's certificate; an https:// address turns TLS on"
    )
    milvus_cert: Path | None = Field(None, description="PEM file of our own certificate, where Milvus asks for one")
    milvus_key: Path | None = Field(None, description="PEM file of its key")
    milvus_server_name: str = Field("", description="the name in Milvus's certificate, where it is not the host's")
    collection: str = Field("sensorium", description="name of the Milvus collection's alias")
    producers: dict[str, Producer] = Field(
        {}, description='who may publish and ask for which tenant: {"name": {"tenant": ..., "secret": ...}}'
    )
    producer: str = Field("", description="the name under which this client signs what it publishes and asks")
    producer_secret: SecretStr = SecretStr("")
    generation: str = Field(
        FIRST,
        pattern=r"^[a-z][a-z0-9]{0,19}$",
        description="the index generation that a worker builds and searches; `sensorium reindex` sets it",
    )
    blobs: str = Field("", description="fsspec URI of the blob store; empty: `<data_dir>/blobs`")
    media_roots: tuple[str, ...] = Field(
        (), description="more fsspec roots that claim checks may name; nothing else is read"
    )

    profile: Literal["local", "hub", "fake"] = "local"
    generator: Literal["llama", "extractive", "fake"] = "llama"
    ocr: bool = True
    hub_vision: str = Field("google/siglip2-base-patch16-224", description="hub profile: words and pictures")
    hub_audio: str = Field("laion/clap-htsat-unfused", description="hub profile: sounds")
    hub_speech: str = Field("openai/whisper-large-v3-turbo", description="hub profile: speech")
    hub_generator: str = Field("Qwen/Qwen3-1.7B", description="hub profile: answers")
    device: str = Field("auto", description="hub profile: torch's device; auto takes a GPU where there is one")
    threads: int = Field(0, ge=0, description="threads of one model call; 0: the machine's cores, at most 4")

    session_timeout_s: float = Field(6.0, ge=6.0, description="a worker silent for so long loses its partitions")
    batch_size: int = Field(32, ge=1, description="events in a micro-batch, at most")
    batch_wait_ms: int = Field(25, ge=0, description="how long a micro-batch waits for more")
    attempts: int = Field(3, ge=1, description="attempts at an event at which its stage fails, before it is refused")
    deaths: int = Field(
        5, ge=1, description="worker processes that may die while they work on one event alone, before it is refused"
    )
    dead_letter_cap: int = Field(
        300, ge=0, description="a stage that refuses more within a minute, and more than it takes, stops; 0: no cap"
    )
    inline_limit: int = Field(1024 * 1024, ge=0, description="media above it are claim-checked, bytes")
    drain_timeout_s: float = Field(20.0, gt=0, description="how long SIGTERM waits for the work in flight")

    candidates: int = Field(40, ge=1, le=500, description="chunks that the first stage hands to the reranker")
    evidence_tokens: int = Field(700, ge=50, description="token budget of the evidence")
    answer_tokens: int = Field(96, ge=1, description="longest answer, tokens")

    limits: Limits = Limits()
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "pretty"] = "auto"
    faults: str = Field("", description="for tests: where workers kill themselves, see streams/faultpoints.py")
    metrics_port: int = Field(0, ge=0, description="Prometheus metrics of a worker on loopback; 0: none")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then environment, then ``sensorium.toml``."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)
