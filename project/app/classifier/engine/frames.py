"""The protocol between the service and its engine: a configuration frame, then frames of a JSON header and a body."""

import json
import socket
import struct
from dataclasses import dataclass
from typing import Any, Final

LENGTHS: Final = struct.Struct("<II")
"""Precedes each frame: lengths of its header and its body in bytes."""

OVERDUE_STATUS: Final = 3
"""Exit status of an engine whose image exceeded its time limit; that image's error was sent before."""

HEARTBEAT_SECONDS: Final = 1.0
"""How often the process shows that it works, with a frame whose header is HEARTBEAT."""
HEARTBEAT: Final = {"alive": True}

Header = dict[str, Any]


def packed(header: Header, body_bytes: int = 0) -> bytes:
    """The start of a frame: lengths and header. The body follows."""
    text = json.dumps(header, separators=(",", ":")).encode()
    return LENGTHS.pack(len(text), body_bytes) + text


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """The engine's configuration, its first frame.

    ``default``: folder of the default model; empty if the engine only renders.
    """

    models_dir: str
    default: str
    threads: int
    memory_bytes: int
    image_seconds: float
    """Time limit for one image."""
    log_config: dict[str, Any]
    decoding_bytes: int
    """Memory for images being decoded."""
    max_memory_bytes: int = 0
    """Memory limit of the process; 0: none."""
    only_when_idle: bool = False
    """Whether it runs only while nothing else wants the processor."""

    @property
    def logs_json(self) -> bool:
        """Whether log lines are JSON."""
        style: str = self.log_config["formatters"]["line"]["style"]
        return style == "json"


def receive(peer: socket.socket) -> tuple[Header, bytes] | None:
    """The next frame from a blocking socket, header and body; None if the peer closed the connection."""
    if (lengths := _exactly(peer, LENGTHS.size)) is None:
        return None
    header_bytes, body_bytes = LENGTHS.unpack(lengths)
    header, body = _exactly(peer, header_bytes), _exactly(peer, body_bytes)
    if header is None or body is None:
        return None
    return json.loads(header), body


def _exactly(peer: socket.socket, count: int) -> bytes | None:
    received = peer.recv(count, socket.MSG_WAITALL) if count else b""
    # A signal such as SIGSTOP may interrupt the read.
    while 0 < len(received) < count:
        further = peer.recv(count - len(received), socket.MSG_WAITALL)
        if not further:
            return None
        received += further
    return received if len(received) == count else None
