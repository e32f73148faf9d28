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

    @property
    def tells_json(self) -> bool:
        """Whether each line of the log is JSON."""
        style: str = self.log_config["formatters"]["line"]["style"]
        return style == "json"


def receive(peer: socket.socket) -> tuple[Header, bytes] | None:
    """The next frame of a blocking socket, header and body; None where the peer hung up."""
    if (lengths := _exactly(peer, LENGTHS.size)) is None:
        return None
    header_bytes, body_bytes = LENGTHS.unpack(lengths)
    header, body = _exactly(peer, header_bytes), _exactly(peer, body_bytes)
    if header is None or body is None:
        return None
    return json.loads(header), body


def _exactly(peer: socket.socket, count: int) -> bytes | None:
    received = peer.recv(count, socket.MSG_WAITALL) if count else b""
    # All of it at once but where a signal came in between, such as those that stop a process and let it go on.
    while 0 < len(received) < count:
        further = peer.recv(count - len(received), socket.MSG_WAITALL)
        if not further:
            return None
        received += further
    return received if len(received) == count else None
