"""The registry: available models, the default one, and the loaded ones.

A model is a folder in ``MODELS_DIR`` (``manifest.py``). The folder is scanned at startup, when a file changes, and on
requests for the list or for an unknown name, so a new model is available without a restart.
"""

import logging
import threading
from collections import Counter, OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from app.classifier.fingerprint import Stamp, stamps_of
from app.classifier.image_classifier import Classifier
from app.classifier.manifest import MANIFEST, Model, Precision, read_model, without_path
from app.classifier.tabular_classifier import TabularClassifier
from app.classifier.tuned import read_tuned, runtime_version
from app.domain import ModelBroken, ModelUnknown, StartupError
from app.observability.log_events import MODEL_BROKEN, MODEL_CHANGED, MODEL_UNLOADED

log = logging.getLogger(__name__)

AUTO: Final = "auto"
PREFERRED: Final = "mobilenet_v2"
FALLBACK: Final = "efficientnet_lite0"
FALLBACK_NOTE: Final = (
    f"MobileNetV2's weights are unavailable, so {FALLBACK} is used instead. "
    "Connect to the internet or set MODEL_WEIGHTS to the file, then run `make model MODEL=mobilenet_v2`."
)
FOLLOW_SECONDS: Final = 2.0
"""Seconds between checks for changed files."""
LOAD_ATTEMPTS: Final = 3
"""Attempts to load a model whose files change meanwhile."""
EXPORT_HINT: Final = "run `make model`"
TUNE_HINT: Final = "run `./classifier tune --use`, or set MODEL_PRECISION=fp32"

Loaded = Classifier | TabularClassifier


def folder_name(name: str, precision: Precision) -> str:
    """The folder of a model in a precision: ``mobilenet_v2``, ``mobilenet_v2_int8``."""
    return name if precision == "fp32" or name.endswith(f"_{precision}") else f"{name}_{precision}"


def find_default(models_dir: Path, choice: str, precision: Precision | Literal["auto"]) -> tuple[Model, str | None]:
    """The model that ``choice`` (a name, or ``auto``) selects, and a warning about it for users.

    ``precision``: ``auto`` stands for the choice of ``classifier tune``, or else fp32. Raises StartupError if the model
    is missing or broken.
    """
    if precision == "auto":
        return _tuned(models_dir, *find_default(models_dir, choice, "fp32"))
    choices = [PREFERRED, FALLBACK] if choice == AUTO else [choice]
    names = [folder_name(name, precision) for name in choices]
    for name in names:
        if (models_dir / name / MANIFEST).exists():
            try:
                model = read_model(models_dir / name)
            except ModelBroken as error:
                raise StartupError(f"{error.message} To export it again, {EXPORT_HINT}.") from error
            if model.manifest.kind != "image":
                raise StartupError(f"MODEL is {choice}, which does not classify images: set it to an image model.")
            return model, None if name == names[0] else FALLBACK_NOTE
    hint = EXPORT_HINT if choice in {AUTO, PREFERRED, FALLBACK} else "export it with `./classifier export-model`"
    raise StartupError(f"There is no model {' or '.join(names)} in {models_dir}: {hint}.")


def _tuned(models_dir: Path, model: Model, note: str | None) -> tuple[Model, str | None]:
    """The variant of a model that ``classifier tune`` chose; the model itself if it cannot be used."""
    tuned = read_tuned(models_dir)
    if tuned is None or tuned.model != model.name:
        return model, note
    try:
        variant = read_model(models_dir / tuned.variant)
    except ModelBroken as error:
        return model, f"{error.message} {model.name} is served instead: run `./classifier tune --use` again."
    again = f"{model.name} is served instead: run `./classifier tune --use` again."
    if variant.manifest.weights_sha256 != model.manifest.weights_sha256 or variant.labels != model.labels:
        return model, f"{tuned.variant} was made from other weights or labels. {again}"
    runtime = variant.manifest.runtime
    if runtime_version(runtime) is None:
        reason = f"{tuned.variant} needs {runtime}, which is not installed"
        return model, f"{reason}: {model.name} is served instead. Run `make {runtime}`."
    return variant, note


def _shown(text: str) -> str:
    """Text with file names that are not UTF-8, in which these are replaced."""
    return text.encode(errors="replace").decode()


class Registry:
    """All models of a folder. Methods may be called from any thread."""

    def __init__(
        self,
        models_dir: Path,
        default: Model | None,
        note: str | None = None,
        *,
        threads: int = 1,
        memory_bytes: int,
        level: int = logging.WARNING,
    ) -> None:
        """``default``: None if image models run elsewhere; the folder may then be missing.

        ``threads``: how many may use one model concurrently. ``memory_bytes``: models are unloaded above this.

        ``level``: of messages about broken models.
        """
        self.note = note
        self._level = level
        self._folder = models_dir
        self._threads = threads
        self._memory_bytes = memory_bytes
        self._default = default
        self._lock, self._scanning = threading.Lock(), threading.Lock()
        # Held while a model is loaded, which takes a while; loaded ones remain available.
        self._loading = threading.RLock()
        self._listed: tuple[Stamp, ...] = ()
        self._models: dict[str, Model] = {default.name: default} if default else {}
        self._broken: dict[str, str] = {}
        self._unloadable: dict[Model, str] = {}
        # The last version in each folder that was loaded, here or by the process that checks models.
        self._working: dict[Path, Model] = {default.folder: default} if default else {}
        self._checked: set[Model] = set()
        # Least recently used first.
        self._loaded: OrderedDict[str, Loaded] = OrderedDict()
        self._loads: Counter[str] = Counter()
        self.scan()

    @property
    def default(self) -> Model:
        """The model used if a request names none."""
        assert self._default is not None
        return self._models.get(self._default.name, self._default)

    @property
    def default_name(self) -> str:
        """Name of the default model; empty if there is none."""
        return self._default.name if self._default else ""

    @property
    def models(self) -> list[Model]:
        """All usable models, default first."""
        return sorted(self._models.values(), key=lambda model: (model.name != self.default_name, model.name))

    @property
    def broken(self) -> dict[str, str]:
        """Reasons why folders cannot be used, by folder name."""
        return dict(self._broken)

    @property
    def loaded(self) -> list[str]:
        """Names of the models whose current version is loaded, least recently used first."""
        with self._lock:
            return [name for name, loaded in self._loaded.items() if loaded.model == self._models.get(name)]

    def scan(self) -> None:
        """Scan the folder. Broken models are logged once and excluded; their last working version stays."""
        with self._scanning:
            # Listed before the files are read: what changes in the meantime is noticed the next time.
            listed = self._list_files()
            models: dict[str, Model] = {}
            broken: dict[str, str] = {}
            folders = self._folders()
            # The default model has the first claim to its name.
            folders.sort(key=lambda folder: self._default is None or folder != self._default.folder)
            for folder in folders:
                try:
                    model = read_model(folder)
                    if model.name in models:
                        raise ModelBroken(
                            f"The model in {folder.name} has the same name as another model, {model.name}."
                        )
                    if model in self._unloadable:
                        raise ModelBroken(self._unloadable[model])
                except ModelBroken as error:
                    name, message = _shown(folder.name), _shown(error.message)
                    broken[name] = message
                    if self._broken.get(name) != message:
                        log.log(self._level, MODEL_BROKEN, message)
                    if working := self._working.get(folder):
                        models.setdefault(working.name, working)
                else:
                    models[model.name] = model
                    # The first version counts as working until it is checked.
                    self._working.setdefault(folder, model)
            if self._default:
                models.setdefault(self._default.name, self.default)
            with self._lock:
                self._listed, self._models, self._broken = listed, models, broken
                for name in [name for name in self._loaded if name not in models]:
                    log.info(MODEL_CHANGED, name)
                    del self._loaded[name]

    def has_changed(self) -> bool:
        """Whether a file of a model was added, removed or changed since the last scan."""
        return self._list_files() != self._listed

    def refresh(self) -> None:
        """Scan the folder if a file of a model has changed."""
        if self.has_changed():
            self.scan()

    def _folders(self) -> list[Path]:
        present = self._folder.iterdir() if self._default or self._folder.is_dir() else []
        return sorted(path for path in present if path.is_dir() and not path.name.startswith("."))

    def _list_files(self) -> tuple[Stamp, ...]:
        return tuple(stamp for folder in self._folders() for stamp in stamps_of(folder))

    @property
    def unchecked(self) -> list[Model]:
        """Models that have not been checked."""
        return [model for model in self.models if model not in self._checked and model.name not in self.loaded]

    def note_checked(self, faults: Mapping[Model, str | None]) -> None:
        """Record another process's findings; models with an error are broken here too."""
        for model, reason in faults.items():
            self._note(model, reason)
        self.scan()

    def _note(self, model: Model, reason: str | None) -> None:
        """Record whether a model can be loaded, unless its files changed in the meantime."""
        if not model.is_unchanged():
            return
        self._checked.add(model)
        if reason:
            self._unloadable[model] = reason
            if self._working.get(model.folder) == model:
                del self._working[model.folder]
        else:
            self._working[model.folder] = model

    def check(self, name: str) -> None:
        """Load a model and discard it. Raises ModelUnknown or ModelBroken."""
        model = self.get(name)
        try:
            self._read(model, threads=1)
        except ModelBroken as error:
            self._note(model, error.message)
            self.scan()
            raise

    def get(self, name: str) -> Model:
        """A model by name. Raises ModelUnknown, which lists the available models."""
        if name not in self._models:
            self.scan()
        try:
            return self._models[name]
        except KeyError:
            known = ", ".join(model.name for model in self.models)
            reason = (
                f"The model {name!r} is broken (see /models)" if name in self._broken else f"There is no model {name!r}"
            )
            raise ModelUnknown(f"{reason}; available: {known}.") from None

    def classifier(self, name: str) -> Classifier:
        """A loaded image model. Raises ModelUnknown, also for tabular models, or ModelBroken."""
        loaded = self._load(name)
        if not isinstance(loaded, Classifier):
            raise ModelUnknown(f"The model {name!r} does not classify images: POST rows to /predict/{name}.")
        return loaded

    def tabular(self, name: str) -> TabularClassifier:
        """A loaded tabular model. Raises ModelUnknown, also for image models, or ModelBroken."""
        loaded = self._load(name)
        if not isinstance(loaded, TabularClassifier):
            raise ModelUnknown(f"The model {name!r} does not classify rows: POST images to /predictions/.")
        return loaded

    def _load(self, name: str) -> Loaded:
        if loaded := self._used(name):
            return loaded
        with self._loading:
            # Another thread may have loaded it in the meantime.
            if loaded := self._used(name):
                return loaded
            try:
                loaded = self._read_current(name)
            except ModelBroken:
                # A new version that cannot be loaded leaves the one before it in use.
                if loaded := self._used(name):
                    return loaded
                raise
            with self._lock:
                if name in self._loaded:
                    log.info(MODEL_CHANGED, name)
                self._loaded[name] = loaded
                self._loaded.move_to_end(name)
                self._loads[name] += 1
                self._unload_what_is_too_much()
        return loaded

    def _read_current(self, name: str) -> Loaded:
        """Load a model; retry if its files change meanwhile. Raises ModelUnknown or ModelBroken."""
        for _ in range(LOAD_ATTEMPTS):
            model = self.get(name)
            error: ModelBroken | None = None
            try:
                loaded = self._read(model, self._threads)
            except ModelBroken as broken:
                error = broken
            if model.is_unchanged():
                self._note(model, error.message if error else None)
                if error is None:
                    return loaded
                self.scan()
                raise error
            self.scan()
        raise ModelBroken(f"The files of the model {name} are changing: try again when they are complete.")

    def take_loads(self) -> dict[str, int]:
        """Number of loads of each model since the last call."""
        with self._lock:
            loads, self._loads = dict(self._loads), Counter()
        return loads

    def _used(self, name: str) -> Loaded | None:
        """The loaded model, if it is the current version."""
        with self._lock:
            loaded = self._loaded.get(name)
            if loaded is None or loaded.model != self._models.get(name):
                return None
            self._loaded.move_to_end(name)
            return loaded

    def _read(self, model: Model, threads: int) -> Loaded:
        try:
            with self._loading, without_path(model.folder):
                return TabularClassifier(model) if model.manifest.kind == "tabular" else Classifier(model, threads)
        except OSError as error:
            raise ModelBroken(f"The model in {model.folder.name} cannot be read: {error.strerror}.") from error

    def _unload_what_is_too_much(self) -> None:
        """Unload models above the memory limit; threads that use one keep it until they are done."""
        while len(self._loaded) > 1 and sum(one.memory_bytes for one in self._loaded.values()) > self._memory_bytes:
            name, _ = self._loaded.popitem(last=False)
            log.info(MODEL_UNLOADED, name)
