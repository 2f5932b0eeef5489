"""Settings from STILLHOUSE_* environment variables, as one frozen object.

It is created once at the start of a process and passed on; nothing reads the environment later.
"""

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

GIB = 1 << 30
ANY_HOST: Final = "*"
_HOST: Final = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?", re.IGNORECASE)


def _cores() -> int:
    return len(os.sched_getaffinity(0))


class Settings(BaseSettings):
    """Settings of API and workers; `STILLHOUSE_DATA_DIR` sets `data_dir`, and so on."""

    model_config = SettingsConfigDict(env_prefix="STILLHOUSE_", frozen=True, extra="ignore")

    data_dir: Annotated[Path, NoDecode] = Field(
        default=Path("data"), description="Directory of database, blobs, checkpoints and caches, unless set otherwise."
    )
    database_url: str = Field(
        default="",
        description="`sqlite:///…` or `postgresql://…`; `stillhouse.db` below the data directory when empty.",
    )
    store_url: str = Field(
        default="",
        description="`file:///…`, `s3://…`, `gs://…` or `az://…`; `blobs` below the data directory when empty.",
    )
    api_key: SecretStr | None = Field(default=None, description="The first admin key; one is created if it is not set.")

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65_535)
    allowed_hosts: str = Field(
        default="",
        description="Names by which requests may ask for the service, with commas between; `*.example.com` for all "
        "below one, `*` for any. Addresses and localhost may always. Empty: no other on a loopback `host`, else any.",
    )
    trusted_proxies: str = Field(
        default="",
        description="Addresses and networks of proxies, with commas between, whose X-Forwarded-For names the client. "
        "Empty: none, and the client is who has connected. A proxy must append to the header, or replace it.",
    )
    header_seconds: float = Field(
        default=10.0, gt=0.0, le=600.0, description="A request whose headers take longer is refused."
    )
    keep_alive_seconds: int = Field(
        default=10,
        ge=1,
        le=3600,
        description="An idle connection is closed after this time; a proxy in front should close its own before.",
    )
    connections: int = Field(
        default=4096,
        ge=4,
        le=1_000_000,
        description="Open connections; fewer where the limit of open files leaves no room for them.",
    )
    connection_share: float = Field(
        default=0.5,
        gt=0.0,
        le=1.0,
        description="Share of the connections that one address may hold; behind a proxy, which is one address, 1.",
    )

    workers: int = Field(
        default=1, ge=0, le=256, description="Training slots of `stillhouse serve` and `worker` on CPU."
    )
    threads: int = Field(
        default_factory=_cores, ge=1, le=256, description="CPU threads of one job; part of the resolved job."
    )

    lease_seconds: float = Field(
        default=60.0, gt=0.5, le=3600.0, description="A worker without a lease renewal for this time counts as dead."
    )
    stalled_seconds: float = Field(
        default=1800.0,
        ge=5.0,
        le=604_800.0,
        description="A job that does no step, finishes no block of rows and emits nothing for this time is ended; so "
        "is an inspection or export whose process does not run.",
    )
    drain_seconds: float = Field(default=25.0, gt=0.0, le=600.0, description="Time to checkpoint on SIGTERM.")
    checkpoint_seconds: float = Field(default=30.0, ge=0.0, le=3600.0, description="Minimum time between checkpoints.")
    checkpoint_kept_hours: float = Field(
        default=72.0,
        ge=0.0,
        le=87_600.0,
        description="How long the checkpoints of a failed or cancelled job are kept for a retry.",
    )
    memory_room: float = Field(
        default=4.0,
        ge=0.0,
        le=1000.0,
        description="Memory that a job on the CPU may take, as a multiple of the estimate for it, and at most that of "
        "the machine; 0: no limit.",
    )
    cache_bytes: int = Field(default=20 * GIB, ge=0, description="Size limit of each of a worker's caches.")

    prediction_seconds: float = Field(
        default=60.0, gt=0.5, le=600.0, description="How long a request to predict may wait for its answer."
    )
    prediction_sessions: int = Field(
        default=4, ge=1, le=256, description="Models that a worker keeps loaded for predictions, each in a process."
    )
    prediction_idle_seconds: float = Field(
        default=300.0, ge=0.0, le=86_400.0, description="A model without a prediction for this time is unloaded."
    )

    session_hours: float = Field(default=12.0, gt=0.0, le=8760.0, description="How long a sign-in in a browser lasts.")

    max_upload_bytes: int = Field(default=64 * GIB, ge=1, description="Largest upload.")
    spare_disk_bytes: int = Field(default=GIB // 2, ge=0, description="Disk space that an upload must leave free.")
    body_seconds: float = Field(
        default=60.0,
        gt=0.0,
        description="A request body, or an answer that is not read, is aborted when it stalls for this time.",
    )
    body_bytes_per_second: int = Field(
        default=1000,
        ge=0,
        description="A request body that is slower than this over `body_seconds` is aborted; 0 allows any pace.",
    )
    uploads_per_key: int = Field(
        default=16, ge=1, le=4096, description="Uploads that one key may have open at a time, of one API process."
    )
    requests_per_second: float = Field(
        default=200.0,
        gt=0.0,
        le=1e6,
        description="Requests a second that one key may send to an API process over time; then 429 after a burst.",
    )
    request_burst: int = Field(default=1000, ge=1, le=1_000_000, description="Requests that one key may send at once.")
    wrong_keys_per_minute: int = Field(
        default=20,
        ge=1,
        le=1_000_000,
        description="Wrong keys of one address (IPv6: of a /64) a minute; answers to more are held back, then 429. "
        "Right keys pass.",
    )
    waits_per_key: int = Field(
        default=2048,
        ge=1,
        le=1_000_000,
        description="Streams and long polls that one key may have open at a time, of one API process.",
    )
    queued_jobs_per_key: int = Field(
        default=20_000, ge=1, description="Queued and paused jobs that one key may have, with inspections and exports."
    )
    bytes_per_key: int = Field(
        default=1024 * GIB,
        ge=1,
        description="Bytes that one key may store: files of its models and datasets, outputs of its jobs.",
    )
    kept_hours: float = Field(
        default=24.0, ge=24.0, description="How long responses to Idempotency-Keys and rejected files are kept."
    )

    events_kept_days: float = Field(
        default=365.0, ge=1.0, le=36_500.0, description="How long the events of a job are kept after its end."
    )
    metrics_kept_days: float = Field(
        default=365.0,
        ge=1.0,
        le=36_500.0,
        description="How long the metrics of a job are kept after its end; its report and student stay.",
    )
    outbox_kept_days: float = Field(
        default=90.0, ge=1.0, le=36_500.0, description="How long notifications of jobs, models and datasets are kept."
    )

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @field_validator("api_key")
    @classmethod
    def _check_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        text = value.get_secret_value()
        if len(text) < 16 or len(text) > 256 or not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError("expected 16 to 256 printable ASCII characters without spaces")
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, value: str) -> str:
        for name in value.split(",") if value.strip() else ():
            if name.strip() != ANY_HOST and not _HOST.fullmatch(name.strip()):
                raise ValueError("expected names of hosts with commas between, without scheme, port or path")
        return value.strip()

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, value: str) -> str:
        names = [name.strip() for name in value.split(",") if value.strip()]
        for name in names:
            try:
                ipaddress.ip_network(name)
            except ValueError:
                raise ValueError(
                    "expected addresses or networks with commas between, such as 10.0.0.2 or 10.0.0.0/24, found "
                    "another: write a network by its first address, and a name by its address"
                ) from None
        return ",".join(names)

    @property
    def database(self) -> str:
        """The URL of the database, by default the embedded one."""
        return self.database_url or f"sqlite:///{self.data_dir / 'stillhouse.db'}"

    @property
    def embedded(self) -> bool:
        """True on SQLite, whose schema `serve` migrates automatically."""
        return self.database.startswith("sqlite")

    @property
    def staging_dir(self) -> Path:
        """Directory of uploads in progress."""
        return self.data_dir / "staging"

    @property
    def admin_key_file(self) -> Path:
        """File to which the first start writes the key that it creates."""
        return self.data_dir / "admin.key"

    def prepared(self) -> Self:
        """The same settings, after creating the directories (readable only by the owner)."""
        for folder in (self.data_dir, self.staging_dir):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self
