"""The command line: ``classifier COMMAND``."""

import argparse
import logging.config
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from pydantic import ValidationError

from app.cli import audit, backup, classify, doctor, keys, migrate, models, similar_index, teach, tune, worker
from app.config import Settings
from app.domain import DatabaseUnavailable, StartupError
from app.observability.log_format import log_config
from app.permissions import keep_files_private

INTERRUPTED: Final = 130
SECRETS: Final = frozenset({"API_KEY", "DATABASE_URL", "WEBHOOK_SECRET"})
"""Settings whose values are not printed."""


class _Command(NamedTuple):
    run: Callable[[Settings, argparse.Namespace], int]
    description: str
    add_options: Callable[[argparse.ArgumentParser], None] | None = None
    is_for_everybody: bool = False
    """Whether others may read what the command writes: models are no secret."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0, or 1 after printing one line with the error and its remedy."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments[:1] == [classify.NAME]:
            return classify.run(arguments[1:])
        if arguments[:1] == [teach.NAME]:
            return teach.run(arguments[1:])
        options = make_parser().parse_args(arguments)
        # Treat SIGTERM like Ctrl-C: everything that was started is stopped on the way out.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        settings = Settings()
        logging.config.dictConfig(log_config(settings))
        if not COMMANDS[options.command].is_for_everybody:
            keep_files_private(settings)
        return int(options.run(settings, options))
    except ValidationError as error:
        for item in error.errors():
            setting = ".".join(str(part) for part in item["loc"]).upper()
            value = "" if setting in SECRETS or not setting else f" is {item['input']!r}"
            message = item["msg"].removeprefix("Value error, ")
            print(f"error: {setting}{value}: {message}" if setting else f"error: {message}", file=sys.stderr)
    except (StartupError, DatabaseUnavailable) as error:
        print(f"error: {error.message}", file=sys.stderr)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 1


def make_parser() -> argparse.ArgumentParser:
    """The command line's parser."""
    parser = argparse.ArgumentParser(prog="classifier", description="Image-classification service.")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=command.description, description=command.description)
        subparser.set_defaults(run=command.run)
        if command.add_options:
            command.add_options(subparser)
    return parser


def _serve(settings: Settings, options: argparse.Namespace) -> int:
    # Imported on demand: FastAPI and uvicorn take a second, which other commands can save.
    from app.cli.serve import run

    return run(settings, options)


def _add_serve_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reload", action="store_true", help="restart when the code changes")


COMMANDS: Final = {
    "serve": _Command(_serve, "Serve the API and the pages.", _add_serve_options),
    "worker": _Command(worker.run, "Classify images from the queue (QUEUE=pgqueuer)."),
    "worker-alive": _Command(worker.check_alive, "Check whether a worker on this host is alive."),
    classify.NAME: _Command(
        lambda _settings, options: classify.run(options.arguments),
        "Classify images or folders with a running service.",
        classify.add_options,
    ),
    teach.NAME: _Command(
        lambda _settings, options: teach.run(options.arguments),
        "Teach a running service your own labels from a folder of folders.",
        teach.add_options,
    ),
    "keys": _Command(keys.run, "Create, list and revoke API keys.", keys.add_options),
    "audit": _Command(audit.run, "Show who changed what.", audit.add_options),
    "doctor": _Command(doctor.run, "Check everything the service needs, and say how to fix it."),
    "migrate": _Command(migrate.run, "Apply database migrations."),
    "backup": _Command(backup.backup, "Write all predictions, images and keys to one file.", backup.add_backup_options),
    "restore": _Command(
        backup.restore, "Restore a backup into an empty database and storage.", backup.add_restore_options
    ),
    "retain": _Command(backup.retain, "Apply RETENTION_DAYS and RETENTION_BYTES now.", backup.add_retain_options),
    "similar-index": _Command(
        similar_index.run, "Create an index for similar images (needs pgvector).", similar_index.add_options
    ),
    "sweep": _Command(backup.sweep, "Delete images without a prediction.", backup.add_sweep_options),
    "export-model": _Command(
        models.export,
        "Export the default model to MODELS_DIR, or another one (needs TensorFlow).",
        models.add_export_options,
        is_for_everybody=True,
    ),
    "tune": _Command(
        tune.run,
        "Measure how fast this machine runs the default model in each runtime and precision.",
        tune.add_options,
        is_for_everybody=True,
    ),
    "export-iris-models": _Command(
        models.export_iris_models,
        "Train and export two tabular models (needs scikit-learn).",
        is_for_everybody=True,
    ),
    "has-model": _Command(models.has_model, "Check whether the default model is exported.", is_for_everybody=True),
}
