"""Settings. This is the only module that reads the environment and ``.env``."""

import base64
import ipaddress
import math
import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, PositiveInt, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app import PROJECT_DIR, cgroups
from app.domain import RetryPolicy

MIGRATIONS_DIR = PROJECT_DIR / "migrations"
AddressLogging = Literal["full", "short", "off"]

SYSTEM_CAS: Final = "system"
"""Value of sslrootcert for the certificate authorities of the machine, as in libpq."""
SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
HOST_NAME: Final = re.compile(r"\*|(\*\.)?[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9])?")
API_KEY: Final = re.compile(r"(?!ic_)[!-~]{16,256}")
ROOT: Final = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
ORIGIN: Final = re.compile(r"https?://([a-z0-9_.-]{1,253}|\[[0-9a-f:.]+\])(:\d{1,5})?")
_DAY: Final = 86_400
BASE_MEMORY: Final = 400 * 2**20
"""Memory of the service with its renderer, its inspectors and an embedded database, without the engine's threads."""
THREAD_MEMORY: Final = 32 * 2**20
"""Memory of a thread that classifies: 24 MiB were measured with MobileNetV2."""


def _names(text: str) -> list[str]:
    return [name for name in (part.strip().lower().rstrip(".") for part in text.split(",")) if name]


def _threads() -> int:
    """As many threads as there are cores for this process, unless a container allows less CPU time or memory."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cpu := cgroups.cpu_limit():
        threads = min(threads, math.ceil(cpu))
    if memory := cgroups.memory_limit():
        threads = min(threads, (memory - BASE_MEMORY) // THREAD_MEMORY)
    return max(threads, 1)


class Settings(BaseSettings):
    """All settings. A field's name in capitals is its environment variable or its key in ``.env``."""

    model_config = SettingsConfigDict(
        # The repository's .env and the one in the current folder, which takes precedence.
        env_file=(PROJECT_DIR.parent / ".env", ".env"),
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        # "model" is a term of this service, so pydantic must not reserve the prefix model_.
        protected_namespaces=(),
    )

    environment: Annotated[str, Field(description="Name of this deployment, shown by /ping.")] = "dev"
    testing: Annotated[bool, Field(description="Shown by /ping; true in the test suite.")] = False

    host: Annotated[
        str, Field(description="Address to listen on; 0.0.0.0 listens on every interface, :: also with IPv6.")
    ] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="Port to listen on; 0 picks a free one.")] = 8004
    allow_anonymous: Annotated[
        bool | None,
        Field(description="Allow requests without an API key. Unset: from this machine, until a key exists."),
    ] = None
    api_key: Annotated[
        SecretStr | None,
        Field(
            description="An API key of 16 to 256 characters for one user, besides those that `./classifier keys` "
            "creates. It may read and write."
        ),
    ] = None
    allowed_hosts: Annotated[
        str,
        Field(
            description="Host names, separated by commas, besides localhost and IP addresses, under which requests may "
            "come while they need no key; *.example.com includes all its subdomains, * allows all names."
        ),
    ] = ""
    hsts: Annotated[bool, Field(description="Tell browsers that reached the service by TLS to keep using it.")] = True
    cors_origins: Annotated[
        str,
        Field(
            description="Origins of web pages, separated by commas, whose scripts may use the API, "
            "such as https://app.example.com."
        ),
    ] = ""
    trusted_proxies: Annotated[
        str,
        Field(
            description="Proxies whose X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host headers are trusted; "
            "* trusts all."
        ),
    ] = "127.0.0.1"
    root_path: Annotated[
        str,
        Field(
            description="Prefix of all paths behind a proxy, such as /classifier; the proxy may remove it or not. "
            "Default: the path of PUBLIC_URL."
        ),
    ] = ""
    public_url: Annotated[
        str | None,
        Field(
            description="Address of the service in browsers, such as https://photos.example.com/classifier. Needed if "
            "a proxy does not pass on the Host header."
        ),
    ] = None
    rate_limit_requests: Annotated[
        int,
        Field(ge=0, description="Requests per minute for each API key or, without one, each address; 0: unlimited."),
    ] = 0
    rate_limit_bytes: Annotated[
        int, Field(ge=0, description="Uploaded bytes per minute for each API key or address; 0: unlimited.")
    ] = 0
    max_uploads_each: Annotated[
        int, Field(ge=0, description="Concurrent uploads for each API key or address, per process; 0: unlimited.")
    ] = 0
    quota_bytes: Annotated[
        int,
        Field(
            ge=0,
            description="Bytes of stored images for each API key, and for all anonymous uploads; 0: unlimited.",
        ),
    ] = 0
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], Field(description="Minimum severity of log lines.")
    ] = "INFO"
    log_format: Annotated[
        Literal["auto", "json", "text"],
        Field(description="Format of log lines. auto: text if ENVIRONMENT is dev, JSON otherwise."),
    ] = "auto"
    log_addresses: Annotated[
        AddressLogging,
        Field(description="Clients' addresses in log lines: full, short (without their last part), or off."),
    ] = "full"
    metrics_port: Annotated[
        int, Field(ge=0, le=65535, description="Port on HOST where a worker serves /metrics; 0: not served.")
    ] = 0
    traces_url: Annotated[
        str | None,
        Field(pattern=r"^https?://", description="OTLP over HTTP endpoint for OpenTelemetry traces; unset: no traces."),
    ] = None

    data_dir: Annotated[Path, Field(description="Folder of the embedded database, images and models.")] = (
        PROJECT_DIR.parent / "data"
    )
    file_group: Annotated[
        str | None,
        Field(
            description="Group, by name or number, that may read images, backups and other files of the service; "
            "by default only its own account may."
        ),
    ] = None
    uploads_dir: Annotated[Path | None, Field(description="Folder of uploaded images (default: DATA_DIR/uploads).")] = (
        None
    )
    storage_url: Annotated[
        str | None,
        Field(
            pattern=r"^s3://[^/]+(/.*)?$",
            description="s3://bucket/prefix; credentials come from AWS_… variables. Unset: images are in UPLOADS_DIR.",
        ),
    ] = None
    retention_days: Annotated[
        float,
        Field(ge=0, le=36_500, description="Delete predictions and their images after this many days; 0: never."),
    ] = 0
    retention_bytes: Annotated[
        int, Field(ge=0, description="Delete the oldest predictions when images exceed this many bytes; 0: never.")
    ] = 0
    renditions_bytes: Annotated[
        int, Field(ge=0, description="Disk space for images rendered for pages and GET .../image; 0: none.")
    ] = 2**30
    sweep_seconds: Annotated[
        float, Field(ge=0, description="Interval between removals of images without a prediction; 0: never.")
    ] = 6 * 3600
    models_dir: Annotated[Path | None, Field(description="Folder of exported models (default: DATA_DIR/models).")] = (
        None
    )

    database_url: Annotated[
        SecretStr | None,
        Field(description="postgres://user:password@host:port/database. Unset: an embedded PostgreSQL in DATA_DIR."),
    ] = None
    database_pool_size: Annotated[int, Field(ge=2, le=100, description="Maximum connections to PostgreSQL.")] = 10
    database_wait_seconds: Annotated[
        float, Field(gt=0, le=_DAY, description="How long to wait for the database at startup.")
    ] = 60

    model: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
            description="Default model. auto: MobileNetV2, or EfficientNet-Lite0 if its weights are unavailable.",
        ),
    ] = "auto"
    model_precision: Annotated[
        Literal["auto", "fp32", "bf16", "int8"],
        Field(
            description="Precision of the default model: auto (the choice of `classifier tune`, or else fp32), fp32, "
            "bf16 or int8. Export the last two first."
        ),
    ] = "auto"
    model_weights: Annotated[
        Path | None, Field(description="MobileNetV2's Keras weights (.h5). Unset: downloaded once.")
    ] = None

    calibration_images: Annotated[
        Path | None, Field(description="Folder of images to calibrate the int8 model with during export.")
    ] = None

    models_loading: Annotated[
        Literal["lazy", "start"],
        Field(description="When to load models other than the default. lazy: on first use; start: at startup."),
    ] = "lazy"
    models_memory_bytes: Annotated[
        PositiveInt, Field(description="Memory for loaded models; above it, the least recently used one is unloaded.")
    ] = 2**30

    queue: Annotated[
        Literal["local", "pgqueuer"],
        Field(
            description="Where images are classified. local: in this process; pgqueuer: in any number of worker "
            "processes (needs DATABASE_URL)."
        ),
    ] = "local"
    heartbeat_seconds: Annotated[
        float,
        Field(
            gt=0,
            le=_DAY,
            description="QUEUE=pgqueuer: other workers take over the jobs of a worker silent for this long.",
        ),
    ] = 8

    keep_originals: Annotated[
        bool,
        Field(description="Store images as uploaded, including EXIF metadata such as the location."),
    ] = False

    reuse_answers: Annotated[
        bool,
        Field(description="Return the cached result for bytes that the same model has already classified."),
    ] = True

    keep_embeddings: Annotated[
        bool,
        Field(description="Store the embedding of each image (2.5 KB), to find similar images."),
    ] = True

    webhook_secret: Annotated[
        SecretStr | None,
        Field(description="Signs webhooks: whsec_ and 24 to 64 bytes in base64. Unset: webhooks are disabled."),
    ] = None
    webhooks_to_private: Annotated[bool, Field(description="Allow webhooks to private network addresses.")] = False

    image_url: Annotated[
        Literal["off", "public", "any"],
        Field(description="Addresses that image_url may point to: none, public ones, or any, including private ones."),
    ] = "off"

    tabular_model: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Tabular model of /predict without a name.")
    ] = "iris_random_forest"
    predict_cache_rows: Annotated[
        int, Field(ge=0, description="Rows whose results /predict caches for identical requests; 0: none.")
    ] = 10_000
    predict_cache_seconds: Annotated[float, Field(gt=0, le=_DAY, description="Lifetime of those cached results.")] = 300

    worker_threads: Annotated[
        int,
        Field(ge=1, le=256, description="Threads that classify images (default: cores, or what a container allows)."),
    ] = _threads()
    max_upload_bytes: Annotated[PositiveInt, Field(description="Maximum size of an upload; larger ones get 413.")] = (
        20 * 2**20
    )
    max_head_bytes: Annotated[
        int, Field(ge=4096, description="Maximum size of a request's line and headers; larger ones get 431.")
    ] = 64 * 1024
    max_batch_bytes: Annotated[
        PositiveInt, Field(description="Maximum size of a batch, and of a ZIP file once unpacked.")
    ] = 2**30
    max_batch_images: Annotated[PositiveInt, Field(description="Maximum number of images in a batch.")] = 1_000
    max_image_pixels: Annotated[
        PositiveInt, Field(description="Maximum number of pixels of an image; larger ones get 413.")
    ] = 50_000_000
    max_image_seconds: Annotated[
        float, Field(ge=0.1, le=_DAY, description="Time limit for decoding and classifying one image.")
    ] = 10
    max_decoding_bytes: Annotated[
        PositiveInt,
        Field(
            description="Memory for images being decoded, in each process that does so; further ones wait. WebP "
            "takes 17 bytes per pixel, other formats less."
        ),
    ] = 800 * 2**20
    max_pending: Annotated[
        PositiveInt,
        Field(description="Maximum number of unfinished predictions; further uploads get 503 and Retry-After."),
    ] = 10_000
    max_receiving_bytes: Annotated[
        PositiveInt, Field(description="Memory for uploads being received; further uploads wait until some is free.")
    ] = 128 * 2**20
    max_wait_seconds: Annotated[
        int, Field(ge=0, le=3600, description="Maximum N of Prefer: wait=N and ?wait=N, in seconds.")
    ] = 60
    max_attempts: Annotated[PositiveInt, Field(description="Attempts before a prediction fails.")] = 3
    lease_seconds: Annotated[
        float, Field(gt=0, le=_DAY, description="How long an attempt may hold a prediction before others take it over.")
    ] = 15
    recover_seconds: Annotated[
        float, Field(gt=0, le=_DAY, description="Interval between searches for predictions whose process died.")
    ] = 5
    shutdown_seconds: Annotated[
        int,
        Field(ge=0, le=_DAY, description="How long a shutdown waits for active predictions; the rest resume later."),
    ] = 10

    @field_validator("database_url")
    @classmethod
    def _validate_database_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return value
        try:
            parts = urlsplit(value.get_secret_value())
            # Reading the port detects a password that contains "/" or "#".
            well_formed = parts.scheme in {"postgres", "postgresql"} and (parts.port or True) and not parts.fragment
        except ValueError:
            well_formed = False
        if not well_formed:
            raise ValueError(
                "must be postgres://user:password@host:port/database, with special characters percent-encoded"
            )
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        if options.keys() - {"sslmode", "sslrootcert", "host"} or options.get("sslmode", "prefer") not in SSL_MODES:
            raise ValueError(
                f"only supports the options sslmode, one of {', '.join(SSL_MODES)}, sslrootcert, a file or system, and "
                "host, the folder of a socket"
            )
        root = options.get("sslrootcert", SYSTEM_CAS)
        if root != SYSTEM_CAS and not Path(root).is_file():
            raise ValueError(f"sslrootcert={root} does not exist")
        if options.get("sslrootcert") == SYSTEM_CAS and options.get("sslmode", "verify-full") != "verify-full":
            raise ValueError(
                "sslrootcert=system needs sslmode=verify-full: anybody can get a certificate for another name"
            )
        return value

    @field_validator("webhook_secret")
    @classmethod
    def _validate_webhook_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return value
        prefix, _, key = value.get_secret_value().partition("_")
        try:
            well_formed = prefix == "whsec" and len(base64.b64decode(key, validate=True)) in range(24, 65)
        except ValueError:
            well_formed = False
        if not well_formed:
            raise ValueError("must be whsec_ and 24 to 64 bytes in base64: echo whsec_$(openssl rand -base64 32)")
        return value

    @model_validator(mode="after")
    def _validate_queue(self) -> Self:
        if self.queue == "pgqueuer" and self.database_url is None:
            raise ValueError("QUEUE=pgqueuer needs DATABASE_URL: the embedded database serves a single process")
        return self

    @field_validator("allowed_hosts")
    @classmethod
    def _validate_allowed_hosts(cls, value: str) -> str:
        for name in _names(value):
            if not HOST_NAME.fullmatch(name):
                raise ValueError(
                    f"must be host names such as photos.example.com, without scheme and port, not {name!r}"
                )
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _validate_trusted_proxies(cls, value: str) -> str:
        for entry in [] if value.strip() == "*" else _names(value):
            try:
                ipaddress.ip_network(entry)
            except ValueError:
                raise ValueError(f"must be IP addresses or networks such as 10.0.0.0/8, or *, not {entry!r}") from None
        return value

    @field_validator("root_path")
    @classmethod
    def _validate_root_path(cls, value: str) -> str:
        if not ROOT.fullmatch(value.rstrip("/")):
            raise ValueError(f"must be a path such as /classifier, of letters, digits and ._~-, not {value!r}")
        return value.rstrip("/")

    @field_validator("public_url")
    @classmethod
    def _validate_public_url(cls, value: str | None) -> str | None:
        if value is None:
            return value
        value = value.strip().rstrip("/")
        scheme, _, rest = value.partition("://")
        host, slash, path = rest.partition("/")
        port = host.rpartition(":")[2] if ":" in host.rpartition("]")[2] else "1"
        is_origin = ORIGIN.fullmatch(f"{scheme}://{host}".lower()) and 0 < int(port) < 2**16
        if not is_origin or not ROOT.fullmatch(slash + path):
            raise ValueError(f"must be an address such as https://photos.example.com, not {value!r}")
        return f"{scheme.lower()}://{host.lower()}{slash}{path}"

    @model_validator(mode="after")
    def _validate_one_root(self) -> Self:
        path = urlsplit(self.public_url or "").path
        if self.root_path and self.public_url and path != self.root_path:
            raise ValueError(f"ROOT_PATH={self.root_path} is not the path of PUBLIC_URL: set only one of them")
        return self

    @field_validator("cors_origins")
    @classmethod
    def _validate_cors_origins(cls, value: str) -> str:
        for origin in _names(value):
            if not ORIGIN.fullmatch(origin):
                raise ValueError(f"must be origins such as https://app.example.com, without a path, not {origin!r}")
        return value

    @field_validator("api_key")
    @classmethod
    def _validate_api_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            key = value.get_secret_value()
            if not API_KEY.fullmatch(key):
                raise ValueError(
                    "must be 16 to 256 ASCII characters without blanks, not beginning with ic_: openssl rand -hex 32"
                )
        return value

    @property
    def export_precision(self) -> Literal["fp32", "bf16", "int8"]:
        """The precision to export a model in."""
        return "fp32" if self.model_precision == "auto" else self.model_precision

    @property
    def anonymous(self) -> bool | None:
        """``allow_anonymous``; unless it is set, a key from the environment is required from everybody."""
        return False if self.allow_anonymous is None and self.api_key else self.allow_anonymous

    @property
    def cors_origin_names(self) -> frozenset[str]:
        """``cors_origins`` in lower case."""
        return frozenset(_names(self.cors_origins))

    @property
    def allowed_host_names(self) -> frozenset[str]:
        """``allowed_hosts`` and the host of ``public_url`` as names in lower case."""
        public = urlsplit(self.public_url or "").hostname
        return frozenset([*_names(self.allowed_hosts), *([public] if public else [])])

    @property
    def root(self) -> str:
        """The prefix of all paths: empty, or such as ``/classifier``."""
        return self.root_path or urlsplit(self.public_url or "").path

    @property
    def uploads(self) -> Path:
        """Folder of the uploaded images."""
        return self.uploads_dir or self.data_dir / "uploads"

    @property
    def renditions(self) -> Path:
        """Folder of rendered images."""
        return self.data_dir / "renditions"

    @property
    def models(self) -> Path:
        """Folder of the exported models, one folder each."""
        return self.models_dir or self.data_dir / "models"

    @property
    def retry_policy(self) -> RetryPolicy:
        """Maximum attempts and the lease of each attempt."""
        return RetryPolicy(self.max_attempts, timedelta(seconds=self.lease_seconds))
