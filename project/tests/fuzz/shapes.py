"""Fuzzes by structure, which random bytes seldom have: boxes, TIFF directories, ZIP entries and heads of requests.

    python -m tests.fuzz.shapes SECONDS

Ends with another status than 0, and says how to repeat it, if an input takes too long or causes an unexpected error.
"""

import asyncio
import random
import struct
import sys
import time
import zlib
from collections.abc import AsyncIterator, Callable

import psutil
import uvicorn

from app.api.connection import ConnectionProtocol
from app.api.early_response import LINGER_BYTES
from app.domain import ArchiveRefused, ImageTooLarge, ImageUnreadable, NotAnImage
from app.images import inspection, preprocessing
from app.uploads.zip_stream import ArchiveLimits, ZipUnpacker
from tests.structures import avif, box, entries, items

PIXELS = 1_000_000
CPU_SECONDS = 1.0
"""For an image or an archive of at most LONGEST bytes."""
CLOSED_SECONDS = 10.0
MOST_GROWTH = 300 * 2**20
UNPACKED = 2**20
LONGEST = 200_000
SHORT = 200

KINDS = (b"meta", b"iinf", b"iloc", b"iref", b"ipma", b"iprp", b"ipco", b"ispe", b"infe", b"moov", b"trak", b"free")
COUNTS = (0, 1, 2, 999, 1_000, 1_001, 3_000)
METHODS = (0, 1, 6, 8, 9, 10, 12, 14, 19, 93, 95, 96, 97, 98, 99)
LINES = (
    *(
        b"GET / HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\n",
        b"GET " + b"/x" * 6_000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\0",
    ),
    *(b"Host: localhost\r\n", b"Content-Length: 5\r\n", b"Content-Length: 999999999999\r\n", b"Content-Length: -1\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b"Expect: 100-continue\r\n"),
    *(b"Connection: close\r\n", b"Upgrade: h2c\r\n", b"X: " + b"a" * 70_000 + b"\r\n", b"a:\r\n" * 300, b" folded\r\n"),
    *(
        b"\r\n",
        b"hello",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"fffffffffffffffff\r\n",
        b"1;" + b"e" * 5_000 + b"\r\na\r\n",
    ),
)


def boxes(chance: random.Random) -> bytes:
    """A HEIC or AVIF file: a tree of boxes, some of whose sizes and counts are wrong."""

    def tree(depth: int) -> bytes:
        kind = chance.choice(KINDS)
        if kind == b"iinf" and chance.random() < 0.5:
            return items(chance.choice(COUNTS))
        if kind in {b"iloc", b"ipma"}:
            return entries(kind, chance.choice(COUNTS))
        inner = b"".join(tree(depth + 1) for _ in range(chance.randrange(4))) if depth < 6 else chance.randbytes(12)
        whole = box(kind, bytes(4) + inner)
        if chance.random() < 0.2:
            size = chance.choice((0, 1, 7, len(whole) + 1, 2**31, 2**32 - 1))
            whole = struct.pack(">L", size) + whole[4:]
        return (whole * chance.choice((1, 1, 1, 2, 1_001)) if len(whole) < SHORT else whole)[:LONGEST]

    return avif(*(tree(0) for _ in range(chance.randrange(1, 4))))[:LONGEST]


def directory(chance: random.Random) -> bytes:
    """A TIFF or BigTIFF file: directories that follow each other or themselves, with tags of any type and length."""
    order, is_big = chance.choice("<>"), chance.random() < 0.3
    mark = b"II" if order == "<" else b"MM"
    data = bytearray(chance.randbytes(64) * chance.choice((1, 10, 1_000)))
    tags = chance.choice((1, 5, 20, 1_000, 1_001))
    begin = 16 if is_big else 8
    wide = "Q" if is_big else "L"
    fields = b""
    for tag in sorted([256, *chance.sample(range(257, 60_000), tags - 1)]):
        kind = chance.randrange(20)
        length = chance.choice((0, 1, 2, 1_000, 2**20, 2**32 - 1))
        value = chance.choice((0, 1, 8, len(data), 2**31, 2**32 - 1))
        fields += struct.pack(f"{order}HH{wide}{wide}", tag, kind, length, value)
    following = chance.choice((0, begin, begin + 2, 2**31))
    count = struct.pack(f"{order}{'Q' if is_big else 'H'}", tags)
    head = struct.pack(f"{order}HHHQ", 43, 8, 0, begin) if is_big else struct.pack(f"{order}HL", 42, begin)
    return (mark + head + count + fields + struct.pack(f"{order}{wide}", following) + bytes(data))[:LONGEST]


def archive(chance: random.Random) -> bytes:
    """A ZIP file: entries of any compression method, with flags, sizes and names that may be wrong."""
    whole = b""
    for _ in range(chance.randrange(1, 150)):
        plain = chance.randbytes(chance.choice((0, 1, 1_000))) * chance.choice((1, 1_000))
        method, flags = chance.choice(METHODS), chance.choice((0, 0, 0, 1, 8, 0x800, 0xFFFF))
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = packer.compress(plain) + packer.flush() if method in {8, 9} else plain
        name = chance.randbytes(chance.choice((0, 5, 300)))
        sizes = [chance.choice((len(data), len(data), 0, 2**32 - 1)) for data in (packed, plain)]
        crc = chance.choice((zlib.crc32(plain), 0))
        head = struct.pack("<4sHHHHHLLLHH", b"PK\3\4", 20, flags, method, 0, 0, crc, *sizes, len(name), 0)
        whole += head + name + packed
        if len(whole) > LONGEST:
            break
    return whole[:LONGEST]


def requests(chance: random.Random) -> bytes:
    """The beginning of a connection: pieces of requests in any order."""
    return b"".join(chance.choice(LINES) for _ in range(chance.randrange(1, 30)))


def try_image(data: bytes) -> None:
    """Process bytes as the service does, up to the model."""
    began = time.process_time()
    try:
        image = inspection.inspect(data, PIXELS)
        preprocessing.to_tensor(inspection.strip_metadata(data, image))
    except (NotAnImage, ImageTooLarge, ImageUnreadable):
        pass
    assert time.process_time() - began < CPU_SECONDS


async def try_archive(data: bytes) -> None:
    """Unpack an archive as it arrives."""

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 4_096):
            yield data[start : start + 4_096]

    began = time.process_time()
    try:
        async for entry in ZipUnpacker().unpack(chunks(), UNPACKED, ArchiveLimits(100, 10 * UNPACKED)):
            assert entry.data is None or len(entry.data) <= UNPACKED
    except ArchiveRefused:
        pass
    assert time.process_time() - began < CPU_SECONDS


async def echo(scope: dict[str, str], receive: Callable[[], object], send: Callable[[object], object]) -> None:
    """An application that reads each body and responds."""
    assert scope["type"] == "http"
    more = True
    while more:
        message: dict[str, object] = await receive()  # type: ignore[misc]
        more = bool(message.get("more_body", False))
    await send({"type": "http.response.start", "status": 204, "headers": []})  # type: ignore[misc]
    await send({"type": "http.response.body", "body": b""})  # type: ignore[misc]


async def try_connection(address: tuple[str, int], data: bytes) -> None:
    """Send bytes and end: the server responds in HTTP or not at all, and closes the connection."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        async with asyncio.timeout(CLOSED_SECONDS):
            writer.write(data)
            writer.write_eof()
            answer = await reader.read()
            assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
            assert len(answer) < LINGER_BYTES
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()


async def fuzz(seconds: float) -> None:
    """Try inputs of each kind in turn. The seed of an input is its number."""
    config = uvicorn.Config(echo, lifespan="off", port=0, http=ConnectionProtocol, log_config=None)
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    address = server.servers[0].sockets[0].getsockname()
    process = psutil.Process()
    before = process.memory_info().rss
    end, number = time.monotonic() + seconds, int(sys.argv[2]) if len(sys.argv) > 2 else 0
    while time.monotonic() < end:
        try:
            try_image(boxes(random.Random(number)))  # noqa: S311 - the same every time
            try_image(directory(random.Random(number)))  # noqa: S311
            await try_archive(archive(random.Random(number)))  # noqa: S311
            await try_connection(address, requests(random.Random(number)))  # noqa: S311
        except BaseException as error:
            error.add_note(f"To try this input again: python -m tests.fuzz.shapes 1 {number}")
            raise
        number += 1
    await server.shutdown()
    assert process.memory_info().rss - before < MOST_GROWTH
    sys.stdout.write(f"{number} inputs of each kind\n")


if __name__ == "__main__":
    asyncio.run(fuzz(float(sys.argv[1])))
