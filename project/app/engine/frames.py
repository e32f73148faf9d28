"""What travels between the service and its engine: orders at the start, then frames of a JSON header and a body."""

import json
import socket
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
    """What the service tells its engine at the start.

    ``default``: the folder of a model; empty where it classifies nothing.
    """

    models_dir: str
    default: str
    threads: int
    memory_bytes: int
    image_seconds: float
    """How long one image may take."""
    log_config: dict[str, Any]


def receive(peer: socket.socket) -> tuple[Header, bytes] | None:
    """The next frame of a blocking socket, header and body; None where the peer hung up."""
    lengths = peer.recv(LENGTHS.size, socket.MSG_WAITALL)
    if len(lengths) < LENGTHS.size:
        return None
    header_bytes, body_bytes = LENGTHS.unpack(lengths)
    header = peer.recv(header_bytes, socket.MSG_WAITALL)
    body = peer.recv(body_bytes, socket.MSG_WAITALL) if body_bytes else b""
    if len(header) + len(body) < header_bytes + body_bytes:
        return None
    return json.loads(header), body
