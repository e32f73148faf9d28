"""Changes models on disk."""

from pathlib import Path

from ai_edge_litert import schema_py_generated as schema

FAVOURITE = 7
"""The index of the label that retrained models always give."""


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def retrained(network: bytes) -> bytes:
    """The network with a bias that lets it always give one label."""
    content = bytearray(network)
    model = schema.Model.GetRootAs(content, 0)
    buffers = (model.Buffers(number) for number in range(model.BuffersLength()))
    (bias,) = (buffer.DataAsNumpy() for buffer in buffers if buffer.DataLength() == 4 * 1000)
    bias.view("<f4")[FAVOURITE] += 100
    return bytes(content)
