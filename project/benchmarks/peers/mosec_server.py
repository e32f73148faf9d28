"""mosec: a web server in Rust, and one worker process a core."""

import json
import os
import sys

from mosec import Server, Worker

from benchmarks.peers.model import answer, load


class ImageWorker(Worker):
    """A form in, labels out."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = load()

    def deserialize(self, data: bytes) -> bytes:
        """The uploaded file. mosec does not read forms, and nothing could do it with less work."""
        return data[data.index(b"\r\n\r\n") + 4 : data.rindex(b"\r\n--")]

    def serialize(self, data: dict[str, object]) -> bytes:
        """As JSON."""
        return json.dumps(data).encode()

    def forward(self, data: bytes) -> dict[str, object]:
        """Decoding and inference."""
        return answer(self.classifier, data)


if __name__ == "__main__":
    sys.argv += ["--address", "127.0.0.1", "--port", os.environ["PORT"], "--log-level", "warning"]
    server = Server()
    server.append_worker(ImageWorker, num=len(os.sched_getaffinity(0)))
    server.run()
