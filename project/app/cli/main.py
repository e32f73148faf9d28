"""The command line: ``classifier COMMAND``."""

import argparse
import asyncio
import hashlib
import logging.config
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from app import audit_command, doctor, keeping_commands, key_commands
from app.config import Settings
from app.domain import DatabaseUnavailable, StartupError, StorageUnavailable
from app.log_events import MIGRATIONS_APPLIED

log = logging.getLogger(__name__)

INTERRUPTED: Final = 130
NO_MODEL: Final = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0, or 1 after printing one line with the error and its remedy."""
    options = make_parser().parse_args(arguments)
    # Treat SIGTERM like Ctrl-C: everything that was started is stopped on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        settings = Settings()
        logging.config.dictConfig(settings.log_config)
        return int(options.run(settings, options))
    except ValidationError as error:
        for told in error.errors():
            where = ".".join(str(part) for part in told["loc"]).upper()
            # Do not print secrets.
            given = "" if where in {"DATABASE_URL", "WEBHOOK_SECRET", ""} else f" is {told['input']!r}"
            said = told["msg"].removeprefix("Value error, ")
            print(f"error: {where}{given}: {said}" if where else f"error: {said}", file=sys.stderr)
    except (StartupError, DatabaseUnavailable) as error:
        print(f"error: {error.message}", file=sys.stderr)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 1


def make_parser() -> argparse.ArgumentParser:
    """The command line's parser."""
    parser = argparse.ArgumentParser(prog="classifier", description="Image-classification service.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (run, text) in COMMANDS.items():
        commands.add_parser(name, help=text, description=text).set_defaults(run=run)
    _add_export_options(commands.choices["export-model"])
    key_commands.add_options(commands.choices["keys"])
    audit_command.add_options(commands.choices["audit"])
    keeping_commands.add_backup_options(commands.choices["backup"])
    keeping_commands.add_restore_options(commands.choices["restore"])
    keeping_commands.add_retain_options(commands.choices["retain"])
    commands.choices["serve"].add_argument("--reload", action="store_true", help="restart when the code changes")
    commands.choices["sweep"].add_argument(
        "--older-than",
        type=float,
        metavar="SECONDS",
        help="only images stored at least this long ago (default: one hour more than MAX_WAIT_SECONDS)",
    )
    return parser


def _add_export_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        nargs="?",
        default="",
        help="name of a keras.applications model (ResNet50), or a .keras file, .h5 file or SavedModel;  "
        "default: the model that MODEL selects",
    )
    parser.add_argument("--name", default="", help="name of the model (default: derived from the source)")
    parser.add_argument(
        "--weights", default="imagenet", help="weights of a Keras application: imagenet, random, or a file"
    )
    parser.add_argument("--labels", type=Path, help="file with one label per line, in the order of the outputs")
    parser.add_argument(
        "--preprocessing",
        default="",
        choices=["tf", "torch", "caffe", "unit", "raw"],
        help="input range of your own model: tf (-1..1), torch (mean and deviation), caffe (BGR minus mean), "
        "unit (0..1) or raw (0..255)",
    )
    parser.add_argument("--squash", action="store_true", help="scale the whole image instead of cropping its centre")


def serve(settings: Settings, options: argparse.Namespace) -> int:
    """Serve HTTP until SIGINT or SIGTERM."""
    from app.server import serve as run

    run(settings, reload=options.reload)
    return 0


def worker(settings: Settings, _options: argparse.Namespace) -> int:
    """Consume jobs until SIGINT or SIGTERM."""
    from uvicorn.loops.auto import auto_loop_factory

    from app.worker_process import work

    with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
        runner.run(work(settings))
    return 0


def worker_alive(settings: Settings, _options: argparse.Namespace) -> int:
    """Check whether a worker on this host (or in this container) is alive: exit status 0 or 1."""
    from app.db import connected, database_url
    from app.fleet import is_alive

    async def run() -> bool:
        async with database_url(settings) as url, connected(url, settings):
            return await is_alive(socket.gethostname())

    if asyncio.run(run()):
        return 0
    print(f"error: no worker on {socket.gethostname()} is alive: check its log", file=sys.stderr)
    return 1


def migrate(settings: Settings, _options: argparse.Namespace) -> int:
    """Apply database migrations."""
    from app.db import database_url
    from app.db import migrate as apply

    async def run() -> None:
        async with database_url(settings) as url:
            applied = await apply(url, settings)
            if settings.queue == "pgqueuer":
                from app.queue import install

                await install(url)
        log.info(MIGRATIONS_APPLIED, ", ".join(applied) or "none, the tables are up to date")

    asyncio.run(run())
    return 0


def sweep(settings: Settings, options: argparse.Namespace) -> int:
    """Delete images without a prediction."""
    from app.db import connected, database_url
    from app.ownership import is_owned
    from app.storage import make_storage
    from app.sweeper import safe_age
    from app.sweeper import sweep as remove

    async def run() -> None:
        storage = make_storage(settings)
        await storage.prepare()
        age = safe_age(settings) if options.older_than is None else timedelta(seconds=options.older_than)
        async with database_url(settings) as url, connected(url, settings):
            if not await is_owned(storage):
                raise StartupError(f"{storage.place} is not marked as this database's storage: nothing was deleted.")
            print(f"{await remove(storage, age)} images deleted")

    try:
        asyncio.run(run())
    except (DatabaseUnavailable, StorageUnavailable) as error:
        raise StartupError(error.message) from error
    return 0


def export_model(settings: Settings, options: argparse.Namespace) -> int:
    """Export a model; needs TensorFlow (requirements-export.txt)."""
    try:
        from app.exporter.export import Request
        from app.exporter.export import export_model as export
    except ModuleNotFoundError as error:
        raise StartupError(
            f"Exporting a model needs {error.name}: run `make model`, or install requirements-export.txt."
        ) from error
    export(
        settings,
        Request(
            source=options.source,
            name=options.name,
            weights=options.weights,
            labels=options.labels,
            preprocessing=options.preprocessing,
            squash=options.squash,
        ),
    )
    return 0


def export_iris_models(settings: Settings, _options: argparse.Namespace) -> int:
    """Train and export the two tabular models; needs scikit-learn (requirements-tabular.txt)."""
    try:
        from app.exporter.iris import export_iris_models as export
    except ModuleNotFoundError as error:
        raise StartupError(
            f"Training needs {error.name}: run `make iris`, or install requirements-tabular.txt."
        ) from error
    export(settings)
    return 0


def has_model(settings: Settings, _options: argparse.Namespace) -> int:
    """Check whether the default model is exported: exit status 0, or NO_MODEL and the reason."""
    from app.registry import AUTO, PREFERRED, find_default

    digest = None
    if settings.model_weights and settings.model in {AUTO, PREFERRED}:
        try:
            digest = hashlib.sha256(settings.model_weights.read_bytes()).hexdigest()
        except OSError as error:
            raise StartupError(f"MODEL_WEIGHTS is {settings.model_weights}: {error.strerror}.") from error
    try:
        model, _ = find_default(settings.models, settings.model, settings.model_precision)
    except StartupError as error:
        print(error.message)
        return NO_MODEL
    print(f"{model.name} {model.version}")
    if digest and model.manifest.weights_sha256 != digest:
        print("but it was exported from weights other than MODEL_WEIGHTS")
        return NO_MODEL
    return 0


Command = Callable[[Settings, argparse.Namespace], int]

COMMANDS: Final[dict[str, tuple[Command, str]]] = {
    "serve": (serve, "Serve the API and the pages."),
    "worker": (worker, "Classify images from the queue (QUEUE=pgqueuer)."),
    "worker-alive": (worker_alive, "Check whether a worker on this host is alive."),
    "keys": (key_commands.run, "Create, list and revoke API keys."),
    "audit": (audit_command.run, "Show who changed what."),
    "doctor": (doctor.run, "Check everything the service needs, and say how to fix it."),
    "migrate": (migrate, "Apply database migrations."),
    "backup": (keeping_commands.backup, "Write all predictions, images and keys to one file."),
    "restore": (keeping_commands.restore, "Restore a backup into an empty database and storage."),
    "retain": (keeping_commands.retain, "Apply RETENTION_DAYS and RETENTION_BYTES now."),
    "sweep": (sweep, "Delete images without a prediction."),
    "export-model": (export_model, "Export a model to MODELS_DIR (needs TensorFlow)."),
    "export-iris-models": (export_iris_models, "Train and export two tabular models (needs scikit-learn)."),
    "has-model": (has_model, "Check whether the default model is exported."),
}
