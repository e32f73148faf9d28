"""Reads the state dict of an old PyTorch version, without PyTorch and without trusting the file.

The format (``torch/serialization.py``, ``_legacy_save``): a pickled magic number, protocol version and system info; the
pickled state dict, whose tensors refer to storages by key; the pickled list of keys; then for each key, in that order,
an int64 element count and the raw elements.
"""

import pickle
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from app.domain import StartupError

MAGIC: Final = 0x1950A86A20F9469CFC6C
PROTOCOL: Final = 1001
_DTYPES: Final[dict[str, np.dtype[Any]]] = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


class UnreadableState(StartupError):
    """The file is not a state dict of float32 and int64 tensors."""


@dataclass(eq=False)
class _Storage:
    """The elements of one or more tensors; they follow the pickles."""

    dtype: np.dtype[Any]
    count: int
    elements: NDArray[Any] | None = None


@dataclass(frozen=True)
class _TensorRef:
    """A view of a storage; offset, shape and strides are in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def read(self) -> NDArray[Any]:
        elements = self.storage.elements
        if elements is None:
            raise UnreadableState("a tensor refers to a storage that the file does not hold")
        size = elements.itemsize
        # numpy checks that the view stays within the buffer.
        view: NDArray[Any] = np.ndarray(
            self.shape, elements.dtype, elements.data, self.offset * size, tuple(s * size for s in self.strides)
        )
        return view.copy()


def read_state_dict(path: Path) -> dict[str, NDArray[Any]]:
    """Tensors by name, float32 or int64, each of the shape it was saved with.

    Raises UnreadableState for anything else, before any of it is acted upon.
    """
    with path.open("rb") as file:
        try:
            return _read(file)
        except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
            raise UnreadableState(f"{path} is not a state dict of float32 and int64 tensors: {error}") from error


def _read(file: IO[bytes]) -> dict[str, NDArray[Any]]:
    header = [_RestrictedUnpickler(file).load() for _ in range(3)]
    if header[:2] != [MAGIC, PROTOCOL] or not header[2].get("little_endian"):
        raise UnreadableState("the header is wrong")
    unpickler = _RestrictedUnpickler(file)
    state = unpickler.load()
    for key in _RestrictedUnpickler(file).load():
        storage = unpickler.storages[key]
        count = int(np.frombuffer(file.read(8), "<i8")[0])
        if count != storage.count:
            raise UnreadableState("a storage has the wrong length")
        storage.elements = np.frombuffer(file.read(count * storage.dtype.itemsize), storage.dtype, count)
    if not all(isinstance(name, str) and isinstance(ref, _TensorRef) for name, ref in state.items()):
        raise UnreadableState("it contains something other than tensors")
    return {name: ref.read() for name, ref in state.items()}


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_unused: object
) -> _TensorRef:
    """Replaces ``torch._utils._rebuild_tensor_v2``."""
    if not isinstance(storage, _Storage) or offset < 0 or min(strides, default=0) < 0 or len(shape) != len(strides):
        raise UnreadableState("a tensor has an invalid description")
    if prod(shape) > storage.count:
        raise UnreadableState("a tensor is larger than its storage")
    return _TensorRef(storage, offset, shape, strides)


class _RestrictedUnpickler(pickle.Unpickler):
    """Allows four names and builds nothing else, so that no file can call anything."""

    _known: Final[dict[tuple[str, str], Callable[..., Any] | str]] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
        ("torch", "FloatStorage"): "FloatStorage",
        ("torch", "LongStorage"): "LongStorage",
    }

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, encoding="ascii")
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._known[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed") from None

    def persistent_load(self, saved: Any) -> _Storage:
        kind, type_name, key, _device, count, view = saved
        if kind != "storage" or view is not None:
            raise pickle.UnpicklingError("only plain storages are allowed")
        return self.storages.setdefault(key, _Storage(_DTYPES[type_name], count))
