"""The command line: ``python -m app COMMAND``."""

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
    """Run one command and give its exit status: 0, or 1 with one line that says what is wrong and what to do."""
    options = make_parser().parse_args(arguments)
    # Like Ctrl-C: whatever was started is stopped on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        settings = Settings()
        logging.config.dictConfig(settings.log_config)
        return int(options.run(settings, options))
    except ValidationError as error:
        for told in error.errors():
            where = ".".join(str(part) for part in told["loc"]).upper()
            # Passwords and the like.
            given = "" if where in {"DATABASE_URL", "WEBHOOK_SECRET", ""} else f" is {told['input']!r}"
            said = told["msg"].removeprefix("Value error, ")
            print(f"error: {where}{given}: {said}" if where else f"error: {said}", file=sys.stderr)
    except (StartupError, DatabaseUnavailable) as error:
        print(f"error: {error.message}", file=sys.stderr)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 1


def make_parser() -> argparse.ArgumentParser:
    """What the command line understands."""
    parser = argparse.ArgumentParser(prog="python -m app", description="The image-classification service.")
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
        help="only images stored so long ago (default: an hour more than a client may wait)",
    )
    return parser


def _add_export_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        nargs="?",
        default="",
        help="a model of keras.applications by name (ResNet50), or your own .keras, .h5 or SavedModel; "
        "without one, what MODEL stands for",
    )
    parser.add_argument("--name", default="", help="what uploads call it (default: made of the source's name)")
    parser.add_argument("--weights", default="imagenet", help="of a Keras application: imagenet, random, or a file")
    parser.add_argument("--labels", type=Path, help="file with a label on each line, in the order of the outputs")
    parser.add_argument(
        "--preprocessing",
        default="",
        choices=["tf", "torch", "caffe", "unit", "raw"],
        help="of your own model: tf (-1..1), torch (mean, deviation), caffe (BGR less mean), unit (0..1), raw (0..255)",
    )
    parser.add_argument("--squash", action="store_true", help="scale whole images, instead of cropping their centre")


def serve(settings: Settings, options: argparse.Namespace) -> int:
    """Serve HTTP until SIGINT or SIGTERM."""
    from app.server import serve as run

    run(settings, reload=options.reload)
    return 0


def worker(settings: Settings, _options: argparse.Namespace) -> int:
    """Take jobs from the queue until SIGINT or SIGTERM."""
    from uvicorn.loops.auto import auto_loop_factory

    from app.worker_process import work

    with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
        runner.run(work(settings))
    return 0


def worker_alive(settings: Settings, _options: argparse.Namespace) -> int:
    """Tell whether a worker of this host (of this container) is alive: exit status 0 or 1."""
    from app.db import connected, database_url
    from app.fleet import is_alive

    async def run() -> bool:
        async with database_url(settings) as url, connected(url, settings):
            return await is_alive(socket.gethostname())

    if asyncio.run(run()):
        return 0
    print(f"error: no worker of {socket.gethostname()} was alive lately: see its log", file=sys.stderr)
    return 1


def migrate(settings: Settings, _options: argparse.Namespace) -> int:
    """Bring the database's tables up to date."""
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
    """Remove images that no prediction names."""
    from app.db import connected, database_url
    from app.ownership import is_ours
    from app.storage import make_storage
    from app.sweeper import safe_age
    from app.sweeper import sweep as remove

    async def run() -> None:
        storage = make_storage(settings)
        await storage.prepare()
        age = safe_age(settings) if options.older_than is None else timedelta(seconds=options.older_than)
        async with database_url(settings) as url, connected(url, settings):
            if not await is_ours(storage):
                raise StartupError(f"{storage.place} is not marked as this database's: nothing was removed.")
            print(f"{await remove(storage, age)} images removed")

    try:
        asyncio.run(run())
    except (DatabaseUnavailable, StorageUnavailable) as error:
        raise StartupError(error.message) from error
    return 0


def export_model(settings: Settings, options: argparse.Namespace) -> int:
    """Make a model's folder; needs TensorFlow (requirements-export.txt)."""
    try:
        from app.exporter.export import Request
        from app.exporter.export import export_model as export
    except ModuleNotFoundError as error:
        raise StartupError(
            f"Exporting a model needs {error.name}: install requirements-export.txt, or run `make model`."
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
            f"Training needs {error.name}: install requirements-tabular.txt, or run `make iris`."
        ) from error
    export(settings)
    return 0


def has_model(settings: Settings, _options: argparse.Namespace) -> int:
    """Tell whether the model to serve was exported: exit status 0, or NO_MODEL and the reason."""
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
        print("but it was exported from other weights than MODEL_WEIGHTS")
        return NO_MODEL
    return 0


Command = Callable[[Settings, argparse.Namespace], int]

COMMANDS: Final[dict[str, tuple[Command, str]]] = {
    "serve": (serve, "Serve HTTP until stopped."),
    "worker": (worker, "Take jobs from the queue until stopped (QUEUE=pgqueuer)."),
    "worker-alive": (worker_alive, "Tell whether a worker of this host is alive."),
    "keys": (key_commands.run, "Make, list and revoke API keys."),
    "audit": (audit_command.run, "Tell who changed what."),
    "doctor": (doctor.run, "Look at everything that the service needs, and say what to do."),
    "migrate": (migrate, "Bring the database's tables up to date."),
    "backup": (keeping_commands.backup, "Write all predictions, images and keys into one file."),
    "restore": (keeping_commands.restore, "Bring a backup into an empty database and storage."),
    "retain": (keeping_commands.retain, "Remove what is older, or more, than is kept."),
    "sweep": (sweep, "Remove images that no prediction names."),
    "export-model": (export_model, "Make a model's folder (needs TensorFlow)."),
    "export-iris-models": (export_iris_models, "Train and export two tabular models (needs scikit-learn)."),
    "has-model": (has_model, "Tell whether the model to serve was exported."),
}
