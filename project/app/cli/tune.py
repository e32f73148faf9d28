"""``classifier tune``: measures the variants of the default model, and makes the fastest one the default."""

import argparse
import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from app.config import Settings
from app.domain import EngineDied, EngineFailed, ImageUnreadable, ModelBroken, ModelUnknown, StartupError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from app.classifier.export.tuning import Measurement, Variant
    from app.classifier.manifest import Model

AGREEMENT: Final = 98.0
MIN_IMAGES: Final = 20
MAX_IMAGES: Final = 400


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="typical images (default: the stored uploads)")
    parser.add_argument("--use", action="store_true", help="make the fastest variant the default model")
    parser.add_argument(
        "--agreement",
        type=_percentage,
        default=AGREEMENT,
        metavar="PERCENT",
        help="smallest share of images whose best label is the same as in fp32, for --use (default: %(default)g)",
    )


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Measure, print a table, and choose. Raises StartupError."""
    from app.classifier.export.tuning import BASE, Tuning, fastest
    from app.classifier.registry import find_default

    if options.use and settings.model_precision != "auto":
        raise StartupError(
            f"MODEL_PRECISION is {settings.model_precision}, which takes precedence over a choice: unset it."
        )
    model, _ = find_default(settings.models, settings.model, "fp32")
    if model.manifest.runtime != BASE.runtime:
        raise StartupError(
            f"The model {model.name} runs in {model.manifest.runtime}; only LiteRT models have variants."
        )
    if settings.storage_url and options.images is None:
        raise StartupError("The images are stored in STORAGE_URL: add --images FOLDER with typical ones.")
    folder = options.images or settings.uploads
    files = _newest(folder, is_given=options.images is not None)
    print(f"{model.name}: measuring with {len(files)} images on {settings.worker_threads} threads", flush=True)
    tensors = asyncio.run(_tensors(settings, model, files))
    if len(tensors) < MIN_IMAGES:
        raise StartupError(f"{folder} has {len(tensors)} readable images, and at least {MIN_IMAGES} are needed.")
    tuning = Tuning(settings, model)
    measurements = tuning.measure(tensors)
    print(_table(measurements))
    chosen = fastest(measurements, options.agreement / 100)
    if not options.use:
        print(f"The fastest with at least {options.agreement:g} % is {_name(chosen.variant)}. To serve it, add --use.")
        return 0
    gain = next(measured for measured in measurements if measured.variant == BASE).median / chosen.median
    note = (
        f"Chosen by `classifier tune` on {datetime.now(UTC):%Y-%m-%d}: {chosen.median:.2f} ms per image, {gain:.2f} "
        f"times as fast as fp32 in LiteRT; the best label is the same for {_percent(chosen.agreement)} of the images."
    )
    try:
        name = tuning.use(chosen, note)
    except OSError as error:
        raise StartupError(f"MODELS_DIR {settings.models} cannot be written: {error.strerror}.") from error
    print(f"{name} is the default model now: restart the service.")
    return 0


def _percentage(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 100:  # noqa: PLR2004 - percent
        raise argparse.ArgumentTypeError(f"{text} is not a percentage")
    return value


def _newest(folder: Path, *, is_given: bool) -> list[Path]:
    """The newest files of a folder. Raises StartupError if there are not enough."""
    changed_at: dict[Path, float] = {}
    for path in folder.rglob("*"):
        # Files may be deleted meanwhile.
        with suppress(OSError):
            if path.is_file() and not path.name.startswith("."):
                changed_at[path] = path.stat().st_mtime
    newest = sorted(changed_at, key=lambda path: changed_at[path], reverse=True)[:MAX_IMAGES]
    if len(newest) < MIN_IMAGES:
        where = f"{folder} has" if is_given else "The service has stored"
        raise StartupError(
            f"{where} {len(newest)} images, and at least {MIN_IMAGES} are needed: "
            "add --images FOLDER with typical ones."
        )
    return newest


async def _tensors(settings: Settings, model: "Model", files: Sequence[Path]) -> "list[NDArray[np.float32]]":
    """The model's inputs for all readable images, decoded by an engine: strangers have uploaded them."""
    import numpy as np

    from app.classifier.engine.process import Engine
    from app.classifier.engine.startup import engine_config

    engine, tensors = Engine(engine_config(settings, model)), []
    async with engine.running():
        for path in files:
            try:
                if path.stat().st_size > settings.max_upload_bytes:
                    continue
                tensor = np.frombuffer(await engine.tensor(model.name, path.read_bytes()), np.float32)
            except (ImageUnreadable, EngineDied, EngineFailed, OSError):
                continue
            except (ModelBroken, ModelUnknown) as error:
                raise StartupError(error.message) from error
            side = round((tensor.size / 3) ** 0.5)
            tensors.append(tensor.reshape(side, side, 3))
    return tensors


def _table(measurements: "Sequence[Measurement]") -> str:
    rows = [("runtime", "precision", "ms per image", "same label as fp32"), *map(_row, measurements)]
    widths = [max(len(row[column]) for row in rows if len(row) == len(rows[0])) for column in range(len(rows[0]))]
    return "\n".join("  ".join(_padded(row, widths)).rstrip() for row in rows)


def _row(measured: "Measurement") -> tuple[str, ...]:
    variant = (measured.variant.runtime, measured.variant.precision)
    if not measured.milliseconds:
        return (*variant, measured.reason)
    spread = f"{measured.median:.2f} ({min(measured.milliseconds):.2f} to {max(measured.milliseconds):.2f})"
    return (*variant, spread, _percent(measured.agreement))


def _padded(row: tuple[str, ...], widths: Sequence[int]) -> Iterator[str]:
    for text, width in zip(row, widths, strict=False):
        yield text.ljust(width)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _name(variant: "Variant") -> str:
    return f"{variant.precision} in {variant.runtime}"
