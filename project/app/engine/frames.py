"""What travels between the service and its engine: orders at the start, then frames of a JSON header and a body."""

import json
import struct
from dataclasses import dataclass
from typing import Any, Final

LENGTHS: Final = struct.Struct("<II")
"""Before each frame: bytes of its header, and of its body."""

Header = dict[str, Any]


def packed(header: Header, body_bytes: int = 0) -> bytes:
    """The beginning of a frame: lengths and header. The body follows."""
    text = json.dumps(header, separators=(",", ":")).encode()
    return LENGTHS.pack(len(text), body_bytes) + text


@dataclass(frozen=True, slots=True)
class Orders:
    """What the service tells its engine at the start."""

    models_dir: str
    default: str
    threads: int
    memory_bytes: int
    log_config: dict[str, Any]
