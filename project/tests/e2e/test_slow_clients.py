"""Slow clients lose their connection after a time limit, and delay no others."""

import select
import socket
import time

import httpx
import pytest

from tests.e2e.server import Server
from tests.pictures import jpeg


@pytest.fixture(scope="module")
def impatient(unstarted_server: Server) -> Server:
    """A server with time limits of one second."""
    unstarted_server.module = ["tests.e2e.impatient_server"]
    return unstarted_server.start()


def connected(server: Server) -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)))
    connection.settimeout(20)
    return connection


def is_ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def is_reset(connection: socket.socket) -> bool:
    """Whether the server closes the connection within 60 s, although nothing is read from it."""
    waiting = select.poll()
    waiting.register(connection, 0)  # reports errors only
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        # A full receive buffer may drop the reset. The system repeats it for whatever arrives later.
        try:
            connection.sendall(b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n")
        except ConnectionError:
            return True
        if waiting.poll(100):
            return True
    return False


@pytest.mark.parametrize("sent", [b"", b"GET /pi", b"GET /ping HTTP/1.1\r\nHost: localhost\r\nX-Slow: "])
def test_incomplete_request_is_closed_after_its_time_limit(impatient: Server, sent: bytes) -> None:
    with connected(impatient) as connection:
        connection.sendall(sent)
        began = time.monotonic()
        assert is_ended(connection)
        assert 0.5 < time.monotonic() - began < 10


def test_incomplete_second_request_is_closed_after_its_time_limit(impatient: Server) -> None:
    with connected(impatient) as connection:
        connection.sendall(b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while not answer.endswith(b"}"):
            answer += connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /ping HTTP/1.1\r\nHos")
        assert is_ended(connection)


def test_connection_is_closed_if_the_client_does_not_read(impatient: Server) -> None:
    with httpx.Client(base_url=impatient.url) as client:
        for number in range(40):
            upload = client.post("/predictions/", files={"file": (f"{number}.jpg", jpeg(300 + number))})
            assert upload.status_code == 201
    with connected(impatient) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        # Answers of 28 kB each: more than buffers hold, and never read.
        connection.sendall(b"GET /predictions/?limit=500 HTTP/1.1\r\nHost: localhost\r\n\r\n" * 400)
        assert is_reset(connection)
    assert httpx.get(f"{impatient.url}/ping").status_code == 200


def test_slow_body_is_accepted(impatient: Server) -> None:
    data = jpeg()
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n' + data + b"\r\n--x--\r\n"
    head = b"POST /predictions/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    head += b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: %d\r\n\r\n" % len(body)
    with connected(impatient) as connection:
        connection.sendall(head + body[:1000])
        time.sleep(2.5)  # longer than a head may take
        connection.sendall(body[1000:])
        assert connection.recv(65536).startswith(b"HTTP/1.1 201")


BODIES = [
    ("PUT", "/predictions/1/", "application/json"),
    ("POST", "/sign-in", "multipart/form-data; boundary=x"),
    ("POST", "/sign-in", "application/x-www-form-urlencoded"),
    ("POST", "/history/1/correction", "application/x-www-form-urlencoded"),
    ("POST", "/classifications", "application/x-www-form-urlencoded"),
]


@pytest.mark.parametrize(("method", "path", "kind"), BODIES)
def test_missing_body_is_waited_for_only_for_its_time_limit(
    impatient: Server, method: str, path: str, kind: str
) -> None:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: 1000\r\n\r\n"
    with connected(impatient) as connection:
        connection.sendall(head.encode() + (b"--x\r\n" if "multipart" in kind else b"a="))
        began = time.monotonic()
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 408 "), answer
        assert b"application/problem+json" in answer
        assert time.monotonic() - began > 0.5
        while connection.recv(65536):
            pass
        assert time.monotonic() - began < 10


@pytest.mark.parametrize(("method", "path", "kind"), BODIES)
def test_client_that_breaks_off_is_no_error_of_the_service(
    impatient: Server, method: str, path: str, kind: str
) -> None:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: 1000\r\n\r\n"
    before = impatient.log_text().count(" after ")
    with connected(impatient) as connection:
        connection.sendall(head.encode() + b"a=")
    impatient.wait_until(lambda: impatient.log_text().count(" after ") > before)
    assert " 500 " not in impatient.log_text()
    assert "Traceback" not in impatient.log_text()
