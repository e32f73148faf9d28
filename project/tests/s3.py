"""A real S3 server for a test: rclone's, on a folder."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.storage.keys import OWNER
from tests.processes import wait_while_running

BUCKET = "images-of-a-test"
START_SECONDS = 30


class S3Server:
    """One run of the server; buckets are folders, and objects are files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"s3://{BUCKET}/some/prefix"
        self._address = "127.0.0.1:0"
        (folder / BUCKET).mkdir(parents=True, exist_ok=True)
        self.start()

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables for clients."""
        return {
            "AWS_ENDPOINT_URL": f"http://{self._address}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }

    def start(self) -> None:
        """Start, or restart on the same port."""
        log = self.folder.with_suffix(".log")
        options = ["--auth-key", "test,secret", "--addr", self._address, "--config", "", "--cache-dir", f"{log}.cache"]
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [str(Path(sys.executable).with_name("rclone")), "serve", "s3", *options, str(self.folder)],
                stdout=output,
                stderr=output,
            )
        address = re.compile(r"\[http://([^/]+)/\]")
        found = wait_while_running(self.process, lambda: address.search(log.read_text()), log.read_text, START_SECONDS)
        assert found
        self._address = found[1]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def objects(self) -> set[str]:
        """Names of all images under the prefix."""
        root = self.folder / BUCKET / "some" / "prefix"
        return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()} - {OWNER}


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """A server that stops after the test."""
    server = S3Server(folder)
    try:
        yield server
    finally:
        server.kill()
