"""The reader of legacy PyTorch files, with files created without PyTorch."""

import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.classifier.export.torch_state import MAGIC, PROTOCOL, UnreadableState, read_state_dict


class Name:
    """Pickled as a name, as PyTorch writes its storage types."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Storage:
    def __init__(self, kind: str, key: str, values: "np.ndarray[Any, Any]", message: int | None = None) -> None:
        self.kind, self.key, self.values = kind, key, values
        self.message = len(values) if message is None else message


# Python's own pickler, written in Python, can be taught to write anything; typeshed does not know its methods.
_PythonPickler: Any = vars(pickle)["_Pickler"]


class _Pickler(_PythonPickler):  # type: ignore[misc] # a class that is Any
    """Writes names and storages as PyTorch does."""

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, Storage):
            return ("storage", Name("torch", obj.kind), obj.key, "cpu", obj.message, None)
        return None

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:  # noqa: FBT002 - the library's signature
        if isinstance(obj, Name):
            self.write(b"c" + f"{obj.module}\n{obj.name}\n".encode())
        else:
            super().save(obj, save_persistent_id)


class Tensor:
    def __init__(self, storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
        hooks: OrderedDict[str, int] = OrderedDict()
        self.arguments = (storage, offset, shape, strides, False, hooks)


class Rebuilt(_Pickler):
    """Writes a Tensor as PyTorch does: a call of ``_rebuild_tensor_v2``."""

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:  # noqa: FBT002 - the library's signature
        if isinstance(obj, Tensor):
            super().save(Name("torch._utils", "_rebuild_tensor_v2"))
            super().save(obj.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)


def write(path: Path, state: Any, storages: list[Storage], *, magic: int = MAGIC) -> Path:
    with path.open("wb") as file:
        for header in (magic, PROTOCOL, {"little_endian": True}):
            pickle.dump(header, file, protocol=2)
        Rebuilt(file, protocol=2).dump(state)
        pickle.dump([storage.key for storage in storages], file, protocol=2)
        for storage in storages:
            file.write(np.int64(len(storage.values)).tobytes() + storage.values.tobytes())
    return path


def floats(*values: float) -> Storage:
    return Storage("FloatStorage", "1", np.array(values, np.float32))


def test_tensors_keep_shape_type_and_strides(tmp_path: Path) -> None:
    weights = floats(*range(6))
    count = Storage("LongStorage", "2", np.array([7], np.int64))
    state = OrderedDict(
        plain=Tensor(weights, 0, (2, 3), (3, 1)),
        turned=Tensor(weights, 0, (3, 2), (1, 3)),
        part=Tensor(weights, 2, (2,), (2,)),
        steps=Tensor(count, 0, (), ()),
    )
    read = read_state_dict(write(tmp_path / "state.pth", state, [weights, count]))
    np.testing.assert_array_equal(read["plain"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(read["turned"], [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(read["part"], [2, 4])
    assert read["steps"] == 7
    assert [str(read[name].dtype) for name in ("plain", "steps")] == ["float32", "int64"]


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("harm",))


@pytest.mark.parametrize("where", ["header", "state"])
def test_file_cannot_call_anything(tmp_path: Path, where: str) -> None:
    path = tmp_path / "evil.pth"
    if where == "header":
        path.write_bytes(pickle.dumps(Malicious()))
    else:
        write(path, OrderedDict(x=Malicious()), [])
    with pytest.raises(UnreadableState, match="not allowed"):
        read_state_dict(path)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("name", ["builtins.eval", "os.system", "torch.HalfStorage", "numpy.ndarray"])
def test_other_names_are_rejected(tmp_path: Path, name: str) -> None:
    module, attribute = name.rsplit(".", 1)
    with pytest.raises(UnreadableState, match=f"{name} is not allowed"):
        read_state_dict(write(tmp_path / "x.pth", OrderedDict(x=Name(module, attribute)), []))


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (Tensor(floats(1, 2), 0, (3,), (1,)), "larger than its storage"),
        (Tensor(floats(1, 2), 1, (2,), (1,)), "incompatible|too small"),
        (Tensor(floats(1, 2), 0, (2,), (5,)), "incompatible|too small"),
        (Tensor(floats(1, 2), -1, (1,), (1,)), "invalid description"),
        (Tensor(floats(1, 2), 0, (2,), (-1,)), "invalid description"),
        (Tensor(floats(1, 2), 0, (2, 1), (1,)), "invalid description"),
    ],
    ids=["longer", "offset", "wide stride", "negative offset", "negative stride", "strides missing"],
)
def test_view_beyond_its_storage_is_rejected(tmp_path: Path, tensor: Tensor, reason: str) -> None:
    path = write(tmp_path / "x.pth", OrderedDict(x=tensor), [tensor.arguments[0]])
    with pytest.raises(UnreadableState, match=reason):
        read_state_dict(path)


def test_storage_with_a_wrong_length_is_rejected(tmp_path: Path) -> None:
    liar = Storage("FloatStorage", "1", np.zeros(2, np.float32), message=2**40)
    with pytest.raises(UnreadableState, match="wrong length"):
        read_state_dict(write(tmp_path / "x.pth", OrderedDict(x=Tensor(liar, 0, (2,), (1,))), [liar]))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip file, as PyTorch writes today", b"\x80\x02."])
def test_other_file_types_are_rejected(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(UnreadableState):
        read_state_dict(tmp_path / "x.pth")


def test_truncated_file_is_rejected(tmp_path: Path) -> None:
    weights = floats(*range(100))
    path = write(tmp_path / "x.pth", OrderedDict(x=Tensor(weights, 0, (100,), (1,))), [weights])
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UnreadableState):
        read_state_dict(path)


def test_wrong_magic_number_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UnreadableState, match="header is wrong"):
        read_state_dict(write(tmp_path / "x.pth", OrderedDict(), [], magic=1))
