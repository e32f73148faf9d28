"""The settings: the only reader of the environment and of ``.env``."""

import base64
import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, PositiveInt, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.domain import RetryPolicy

PROJECT_DIR = Path(__file__).resolve().parents[1]
MIGRATIONS_DIR = PROJECT_DIR / "migrations"
SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_DAY: Final = 86_400


def _cores() -> int:
    """Cores this process may use (fewer than the machine has, under taskset or a container's cpuset)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Settings(BaseSettings):
    """Every setting: a field's name in capitals is the environment variable, or the line in ``.env``."""

    model_config = SettingsConfigDict(
        # The repository's own, and one in the folder the command is run in, which wins.
        env_file=(PROJECT_DIR.parent / ".env", ".env"),
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        # "model" is a word of this service: pydantic must not reserve model_.
        protected_namespaces=(),
    )

    environment: Annotated[str, Field(description="Name of this deployment, shown by /ping.")] = "dev"
    testing: Annotated[bool, Field(description="Shown by /ping; true in the test suite.")] = False

    host: Annotated[str, Field(description="Address to listen on; 0.0.0.0 for every interface.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="Port to listen on; 0 picks a free one.")] = 8004
    allow_anonymous: Annotated[
        bool | None,
        Field(description="Whether all can be done without an API key; unset: only on loopback addresses."),
    ] = None
    trusted_proxies: Annotated[
        str, Field(description="Addresses of proxies that are believed whom they speak for; *: any.")
    ] = "127.0.0.1"
    rate_limit_requests: Annotated[
        int, Field(ge=0, description="Requests a minute of one key, or of one address without; 0: any number.")
    ] = 0
    rate_limit_bytes: Annotated[int, Field(ge=0, description="Uploaded bytes a minute, likewise.")] = 0
    max_uploads_each: Annotated[int, Field(ge=0, description="Uploads at a time, likewise, for each process.")] = 0
    quota_bytes: Annotated[
        int, Field(ge=0, description="Bytes that the images of one key may take, and all without one; 0: any number.")
    ] = 0
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], Field(description="Least severe lines of the log.")
    ] = "INFO"
    log_format: Annotated[
        Literal["auto", "json", "text"],
        Field(description="How lines of the log are written; auto: as JSON, but as text where ENVIRONMENT is dev."),
    ] = "auto"
    metrics_port: Annotated[
        int, Field(ge=0, le=65535, description="Where a worker answers /metrics, on HOST; 0: nowhere.")
    ] = 0
    traces_url: Annotated[
        str | None,
        Field(pattern=r"^https?://", description="Where OpenTelemetry traces go, as OTLP over HTTP; unset: nowhere."),
    ] = None

    data_dir: Annotated[Path, Field(description="Database, images and models lie here.")] = PROJECT_DIR.parent / "data"
    uploads_dir: Annotated[Path | None, Field(description="Uploaded images (default: DATA_DIR/uploads).")] = None
    storage_url: Annotated[
        str | None,
        Field(
            pattern=r"^s3://[^/]+(/.*)?$",
            description="s3://bucket/prefix, credentials as AWS_… in the environment; unset: UPLOADS_DIR.",
        ),
    ] = None
    retention_days: Annotated[
        float,
        Field(ge=0, le=36_500, description="Days after which predictions are removed with their images; 0: never."),
    ] = 0
    retention_bytes: Annotated[
        int, Field(ge=0, description="Bytes of images above which the oldest predictions are removed; 0: never.")
    ] = 0
    sweep_seconds: Annotated[
        float, Field(ge=0, description="Pause between removals of images that no prediction names; 0: never.")
    ] = 6 * 3600
    models_dir: Annotated[Path | None, Field(description="Exported models (default: DATA_DIR/models).")] = None

    database_url: Annotated[
        SecretStr | None,
        Field(description="postgres://user:password@host:port/database; unset: an embedded PostgreSQL in DATA_DIR."),
    ] = None
    database_pool_size: Annotated[int, Field(ge=2, le=100, description="Connections to PostgreSQL at most.")] = 10
    database_wait_seconds: Annotated[
        float, Field(gt=0, le=_DAY, description="How long a start waits for the database to answer.")
    ] = 60

    model: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
            description="The default model; auto: MobileNetV2, or EfficientNet-Lite0 where its weights cannot be had.",
        ),
    ] = "auto"
    model_precision: Annotated[
        Literal["fp32", "int8"], Field(description="int8: the default model's quantised twin, made beforehand.")
    ] = "fp32"
    model_weights: Annotated[
        Path | None, Field(description="MobileNetV2's Keras weights (.h5); unset: downloaded once.")
    ] = None

    calibration_images: Annotated[
        Path | None, Field(description="Folder of images that MODEL_PRECISION=int8 is calibrated on when it is made.")
    ] = None

    models_loading: Annotated[
        Literal["lazy", "start"], Field(description="Whether models other than the default are loaded when first used.")
    ] = "lazy"
    models_memory_bytes: Annotated[
        PositiveInt, Field(description="Above this, the model that was not used for longest is unloaded.")
    ] = 2**30

    queue: Annotated[
        Literal["local", "pgqueuer"],
        Field(
            description="Who classifies: this process, or any number of `python -m app worker` (needs DATABASE_URL)."
        ),
    ] = "local"
    heartbeat_seconds: Annotated[
        float,
        Field(
            gt=0, le=_DAY, description="QUEUE=pgqueuer: a worker that is silent for so long loses its jobs to others."
        ),
    ] = 8

    keep_originals: Annotated[
        bool,
        Field(description="Whether images are stored as they were uploaded, with where and when they were taken."),
    ] = False

    reuse_answers: Annotated[
        bool,
        Field(description="Whether bytes that a model has seen before get the same answer without asking it again."),
    ] = True

    webhook_secret: Annotated[
        SecretStr | None,
        Field(description="whsec_ and 24 to 64 bytes in base64, that sign webhooks; unset: there are none."),
    ] = None
    webhooks_to_private: Annotated[
        bool, Field(description="Whether webhooks may go to private addresses, such as those of this network.")
    ] = False

    image_url: Annotated[
        Literal["off", "public", "any"],
        Field(
            description="Whether images are fetched from image_url: never, from public addresses, or from any, such as "
            "those of this network."
        ),
    ] = "off"

    predict_cache_rows: Annotated[
        int, Field(ge=0, description="Rows whose answers /predict keeps for identical requests; 0: none.")
    ] = 10_000
    predict_cache_seconds: Annotated[float, Field(gt=0, le=_DAY, description="For how long it keeps them.")] = 300

    worker_threads: Annotated[int, Field(ge=1, le=256, description="Threads that classify.")] = _cores()
    max_upload_bytes: Annotated[PositiveInt, Field(description="Larger uploads are cut off with 413.")] = 20 * 2**20
    max_batch_bytes: Annotated[PositiveInt, Field(description="Largest batch or ZIP file, packed and unpacked.")] = (
        2**30
    )
    max_batch_images: Annotated[PositiveInt, Field(description="Images in one batch.")] = 1_000
    max_image_pixels: Annotated[PositiveInt, Field(description="Images with more pixels are refused with 413.")] = (
        50_000_000
    )
    max_image_seconds: Annotated[
        float, Field(ge=0.1, le=_DAY, description="How long one image may take; what takes longer fails.")
    ] = 10
    max_pending: Annotated[
        PositiveInt,
        Field(description="Unfinished predictions above which uploads are answered with 503 and Retry-After."),
    ] = 10_000
    max_receiving_bytes: Annotated[
        PositiveInt, Field(description="Uploads in memory at once; further ones are read when there is room.")
    ] = 128 * 2**20
    max_wait_seconds: Annotated[int, Field(ge=0, le=3600, description="Cap of Prefer: wait=N and of ?wait=N.")] = 60
    max_attempts: Annotated[PositiveInt, Field(description="Attempts before a prediction is failed.")] = 3
    lease_seconds: Annotated[float, Field(gt=0, le=_DAY, description="How long one attempt owns its prediction.")] = 15
    recover_seconds: Annotated[
        float, Field(gt=0, le=_DAY, description="Pause between looks for predictions whose process died.")
    ] = 5
    shutdown_seconds: Annotated[
        int,
        Field(
            ge=0,
            le=_DAY,
            description="How long a stop waits for what is in hand; predictions that are not finished follow later.",
        ),
    ] = 10

    @field_validator("database_url")
    @classmethod
    def _is_postgres(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return value
        try:
            parts = urlsplit(value.get_secret_value())
            # Reading the port is what finds a password with a "/" or "#" in it.
            well_formed = parts.scheme in {"postgres", "postgresql"} and (parts.port or True) and not parts.fragment
        except ValueError:
            well_formed = False
        if not well_formed:
            raise ValueError(
                "should be postgres://user:password@host:port/database, with special characters percent-encoded"
            )
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        if options.keys() - {"sslmode"} or options.get("sslmode", "prefer") not in SSL_MODES:
            raise ValueError(f"may have one option, sslmode, one of {', '.join(SSL_MODES)}")
        return value

    @field_validator("webhook_secret")
    @classmethod
    def _is_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return value
        prefix, _, key = value.get_secret_value().partition("_")
        try:
            is_one = prefix == "whsec" and len(base64.b64decode(key, validate=True)) in range(24, 65)
        except ValueError:
            is_one = False
        if not is_one:
            raise ValueError("should be whsec_ and 24 to 64 bytes in base64: echo whsec_$(openssl rand -base64 32)")
        return value

    @model_validator(mode="after")
    def _queue_has_a_database(self) -> Self:
        if self.queue == "pgqueuer" and self.database_url is None:
            raise ValueError("QUEUE=pgqueuer needs DATABASE_URL: the embedded database is for one process alone")
        return self

    @property
    def uploads(self) -> Path:
        """Folder of the uploaded images."""
        return self.uploads_dir or self.data_dir / "uploads"

    @property
    def models(self) -> Path:
        """Folder of the exported models, one folder each."""
        return self.models_dir or self.data_dir / "models"

    @property
    def retry_policy(self) -> RetryPolicy:
        """How often a prediction is tried, and for how long one attempt owns it."""
        return RetryPolicy(self.max_attempts, timedelta(seconds=self.lease_seconds))

    @property
    def log_config(self) -> dict[str, Any]:
        """How the service logs, for ``logging.config.dictConfig``: one line an event, on standard error."""
        style = self.log_format if self.log_format != "auto" else "text" if self.environment == "dev" else "json"
        quiet = "ERROR" if self.log_level == "ERROR" else "WARNING"
        return {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"()": "app.logs.make_formatter", "style": style}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"level": self.log_level, "handlers": ["stderr"]},
            # These tell of every query, connection and step at INFO.
            "loggers": {
                **{
                    name: {"level": quiet}
                    for name in ("PIL", "absl", "asyncio", "httpx", "tensorflow", "tf2onnx", "tortoise", "uvicorn")
                },
                "uvicorn.access": {"level": self.log_level},
                # What goes wrong with a database that is away is told of in a line of ours, and waited for.
                **{name: {"level": "CRITICAL"} for name in ("asyncpg", "pgqueuer")},
                # One line for each batch that nobody takes, of the four that it has.
                "opentelemetry": {"level": "ERROR"},
            },
        }
