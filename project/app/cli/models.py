"""``classifier export-model``, ``export-iris-models`` and ``has-model``."""

import argparse
import hashlib
import logging.config
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from app.config import Settings
from app.domain import StartupError
from app.observability.log_format import log_config

STDERR: Final = 2
NO_MODEL: Final = 3
"""Exit status of ``has-model`` if the default model is not exported."""


def add_export_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        nargs="?",
        default="",
        help="name of a keras.applications model (ResNet50), or a .keras file, .h5 file or SavedModel; "
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
    parser.add_argument("--output", default="", help="name of the output with the scores, if the model has several")
    parser.add_argument(
        "--size", type=int, default=0, metavar="PIXELS", help="side in pixels, if the model takes images of any size"
    )
    parser.add_argument(
        "--activation",
        choices=["none", "softmax", "sigmoid"],
        help="what turns the output into scores: softmax or sigmoid for logits, none for scores from 0 to 1 "
        "(default: determined from the last layer, or else from ten images)",
    )
    parser.add_argument("--squash", action="store_true", help="scale the whole image instead of cropping its centre")


def export(settings: Settings, options: argparse.Namespace) -> int:
    """Export the default model, or a SOURCE, which needs TensorFlow (requirements-export.txt)."""
    try:
        settings.models.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartupError(
            f"MODELS_DIR {settings.models} cannot be used: {error.strerror}. Set MODELS_DIR to a writable folder."
        ) from error
    with _native_output_held_back(settings):
        if options.source:
            _export_source(settings, options)
        else:
            _export_default(settings, options)
    return 0


def _export_default(settings: Settings, options: argparse.Namespace) -> None:
    parser = argparse.ArgumentParser()
    add_export_options(parser)
    defaults = vars(parser.parse_args([]))
    given = [f"--{name}" for name, default in defaults.items() if getattr(options, name) != default]
    if given:
        raise StartupError(f"{', '.join(given)}: only for a SOURCE. Name one: ./classifier export-model SOURCE …")
    try:
        from app.classifier.export.default_model import export_default_model
    except ModuleNotFoundError as error:
        raise StartupError(f"Exporting the model needs {error.name}: run `make model`.") from error
    export_default_model(settings)


def _export_source(settings: Settings, options: argparse.Namespace) -> None:
    try:
        from app.classifier.export.keras.export import Request, export_model
    except ModuleNotFoundError as error:
        raise StartupError(
            f"Exporting {options.source} needs {error.name}: run ./classifier export-model, "
            "or install requirements-export.txt."
        ) from error
    export_model(
        settings,
        Request(
            source=options.source,
            name=options.name,
            weights=options.weights,
            labels=options.labels,
            preprocessing=options.preprocessing,
            squash=options.squash,
            output=options.output,
            size=options.size,
            activation=options.activation,
        ),
    )


@contextmanager
def _native_output_held_back(settings: Settings) -> Iterator[None]:
    """Hold back what TensorFlow itself writes to standard error; print it only after an unexpected error."""
    terminal = os.fdopen(os.dup(STDERR), "w", buffering=1, encoding="utf-8")
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), STDERR)
        previous, sys.stderr = sys.stderr, terminal
        logging.config.dictConfig(log_config(settings))
        try:
            yield
        except (StartupError, KeyboardInterrupt):
            raise
        except BaseException:
            held_back.seek(0)
            terminal.write(held_back.read().decode(errors="replace"))
            raise
        finally:
            terminal.flush()
            os.dup2(terminal.fileno(), STDERR)
            sys.stderr = previous
            logging.config.dictConfig(log_config(settings))


def export_iris_models(settings: Settings, _options: argparse.Namespace) -> int:
    """Train and export the two tabular models; needs scikit-learn (requirements-tabular.txt)."""
    try:
        from app.classifier.export.iris import export_iris_models as export
    except ModuleNotFoundError as error:
        raise StartupError(
            f"Training needs {error.name}: run `make iris`, or install requirements-tabular.txt."
        ) from error
    export(settings)
    return 0


def has_model(settings: Settings, _options: argparse.Namespace) -> int:
    """Check whether the default model is exported: exit status 0, or NO_MODEL and the reason."""
    from app.classifier.registry import AUTO, PREFERRED, find_default

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
