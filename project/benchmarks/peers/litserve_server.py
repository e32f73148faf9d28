"""LitServe: one worker process a core, and its fast queue (ZeroMQ)."""

import os

import litserve
from fastapi import Request

from benchmarks.peers.model import answer, load


class ImageAPI(litserve.LitAPI):
    """Bytes in, labels out."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - the interface's
        """Once in each worker."""
        self.classifier = load()

    def decode_request(self, request: Request) -> bytes:
        """The uploaded file."""
        data: bytes = request["file"].file.read()
        return data

    def predict(self, data: bytes) -> dict[str, object]:
        """Decoding and inference."""
        return answer(self.classifier, data)

    def encode_response(self, output: dict[str, object]) -> dict[str, object]:
        """As it is."""
        return output


if __name__ == "__main__":
    cores = len(os.sched_getaffinity(0))
    server = litserve.LitServer(ImageAPI(), accelerator="cpu", workers_per_device=cores, fast_queue=True)
    port = int(os.environ["PORT"])
    server.run(host="127.0.0.1", port=port, log_level="warning", generate_client_file=False, access_log=False)
