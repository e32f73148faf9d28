"""The client of every benchmark: keep-alive connections that upload the next image as soon as they have a result.

It is lean on purpose (bodies are made once, answers are barely parsed): it shares the cores with what it measures.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

BOUNDARY: Final = "benchmark-5f2a9c"
POLL_SECONDS: Final = 0.02
ANSWER_SECONDS: Final = 120.0
JPEG_SUFFIXES: Final = {".jpg", ".jpeg"}


@dataclass(frozen=True, slots=True)
class Service:
    """The protocol of a service.

    ``polls``: the upload's answer only has an id, and ``GET {path}{id}/`` is asked until the prediction is finished.
    """

    host: str
    port: int
    path: str = "/predictions/"
    headers: str = ""
    polls: bool = False
    model: str = ""


@dataclass(slots=True)
class Outcome:
    """Results of a run: seconds from upload to result of each finished upload, and the labels by file name.

    ``cpu_seconds``: what the client itself used.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    lost: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def per_second(self) -> float:
        """Uploads finished per second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def images_in(folder: Path) -> dict[str, bytes]:
    """The JPEG files of a folder by name."""
    images = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix.lower() in JPEG_SUFFIXES}
    if not images:
        sys.exit(f"error: there are no JPEG files in {folder}: say BENCH_IMAGES=folder")
    return images


def drive(
    service: Service, images: dict[str, bytes], *, seconds: float, connections: int, uploads: int = 2**63
) -> Outcome:
    """Upload images repeatedly over ``connections``, for a number of seconds or uploads, and finish all of them."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(_drive(service, images, seconds, connections, uploads))
    return uvloop.run(_drive(service, images, seconds, connections, uploads))


async def _drive(service: Service, images: dict[str, bytes], seconds: float, connections: int, uploads: int) -> Outcome:
    requests = [(name, _upload_request(service, name, data)) for name, data in images.items()]
    outcome = Outcome()
    began, used = time.perf_counter(), time.process_time()
    left = iter(range(uploads))
    await asyncio.gather(
        *(
            _connection(service, requests[first:] + requests[:first], began + seconds, left, outcome)
            for first in (number * 7 % len(requests) for number in range(connections))
        )
    )
    outcome.seconds, outcome.cpu_seconds = time.perf_counter() - began, time.process_time() - used
    return outcome


async def _connection(
    service: Service, requests: list[tuple[str, bytes]], until: float, left: Iterator[int], outcome: Outcome
) -> None:
    connection = _Connection(service.host, service.port)
    turn = 0
    while time.perf_counter() < until and next(left, None) is not None:
        name, request = requests[turn % len(requests)]
        turn += 1
        sent = time.perf_counter()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                label = await _predict(service, connection, request)
        except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError, KeyError) as error:
            outcome.lost += 1
            message = f"{type(error).__name__}: {error}"[:200]
            outcome.errors[message] = outcome.errors.get(message, 0) + 1
            connection.close()
        else:
            outcome.latencies.append(time.perf_counter() - sent)
            outcome.labels[name] = label
    connection.close()


async def _predict(service: Service, connection: "_Connection", request: bytes) -> str:
    answer = json.loads(await connection.ask(request))
    if service.polls:
        question = _get_request(service, answer["id"])
        while answer.get("status") not in {"succeeded", "failed"}:
            await asyncio.sleep(POLL_SECONDS)
            answer = json.loads(await connection.ask(question))
    label = answer["top_prediction"]
    if not label:
        raise ValueError(f"no label: {answer}")
    return str(label)


class _Connection:
    """One keep-alive HTTP/1.1 connection, opened when needed. Raises ValueError for any response other than 2xx."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> bytes:
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address, limit=2**20)
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        body = await reader.readexactly(int(_header(head, b"content-length")))
        if _header(head, b"connection") == b"close":
            self.close()
        if not head.split(b" ", 2)[1].startswith(b"2"):
            raise ValueError((head.splitlines()[0] + b" " + body[:200]).decode(errors="replace"))
        return body

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def _header(head: bytes, name: bytes) -> bytes:
    start = head.find(b"\r\n" + name + b":")
    if start < 0:
        return b""
    start += len(name) + 3
    return head[start : head.index(b"\r\n", start)].strip()


def _upload_request(service: Service, name: str, data: bytes) -> bytes:
    field = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="model"\r\n\r\n{service.model}\r\n'
    body = (
        (
            f"{field if service.model else ''}"
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: image/jpeg\r\n\r\n"
        ).encode()
        + data
        + f"\r\n--{BOUNDARY}--\r\n".encode()
    )
    head = (
        f"POST {service.path} HTTP/1.1\r\nHost: {service.host}:{service.port}\r\nAccept: application/json\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {len(body)}\r\n"
        f"{service.headers}\r\n"
    )
    return head.encode() + body


def _get_request(service: Service, prediction_id: int) -> bytes:
    return f"GET {service.path}{prediction_id}/ HTTP/1.1\r\nHost: {service.host}:{service.port}\r\n\r\n".encode()


def main() -> None:
    """Warm up, measure, and print the outcome as JSON. Runs as a separate process, so that nothing delays it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--service", type=json.loads, required=True, help="fields of Service, as JSON")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--uploads", type=int, default=2**63)
    given = parser.parse_args()
    service = Service(**given.service)
    images = images_in(given.images)
    outcome = drive(service, images, seconds=given.seconds, connections=given.connections, uploads=given.uploads)
    print(json.dumps(outcome.as_dict()))


if __name__ == "__main__":
    main()
