"""The engine's process: decodes and classifies in threads, one per core, until the service closes the connection.

A separate process, so that no Python code of the service delays a core, and a file that crashes a decoder affects
nothing else. Run as ``python -m app.classifier.engine.child``; requests arrive as frames on the inherited socket.
"""

import contextlib
import gc
import logging.config
import os
import signal
import socket
import sys
import threading
import time
import warnings
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Final

from app.classifier.engine.frames import (
    HEARTBEAT,
    HEARTBEAT_SECONDS,
    OVERDUE_STATUS,
    EngineConfig,
    Header,
    packed,
    receive,
)
from app.classifier.engine.priority import run_only_when_idle
from app.classifier.engine.sandbox import restrict
from app.classifier.engine.watchdog import Watchdog
from app.domain import ImageUnreadable, NotAnImage, ServiceError, Thresholds
from app.images import inspection
from app.images.memory import BUDGET
from app.images.preprocessing import render_jpeg
from app.observability.log_events import ENGINE_ERROR, IMAGE_OVERDUE
from app.observability.task_errors import log_errors

if TYPE_CHECKING:
    from app.classifier.image_classifier import Classifier
    from app.classifier.registry import Registry

log = logging.getLogger(__name__)

NICENESS: Final = 10
"""Requests and the database get the CPU first: they need little, and here there is always work."""


class Models:
    """This process's models, imported and scanned on first use: a process without any starts in half the time."""

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._registry: Registry | None = None
        self._looked_at = 0.0
        self._lock = threading.Lock()

    def open(self) -> "Registry":
        """The registry, which has looked for changed files in the last seconds. May be called from any thread."""
        from app.classifier.manifest import read_model
        from app.classifier.registry import FOLLOW_SECONDS, Registry

        with self._lock:
            now = time.monotonic()
            if self._registry is None:
                folder = Path(self._config.models_dir)
                self._registry = Registry(
                    folder,
                    read_model(folder / self._config.default) if self._config.default else None,
                    threads=self._config.threads,
                    memory_bytes=self._config.memory_bytes,
                    level=logging.DEBUG,
                )
                self._looked_at = now
            elif now - self._looked_at >= FOLLOW_SECONDS:
                self._looked_at = now
                with log_errors("Looking for changed models"):
                    self._registry.refresh()
            return self._registry

    @property
    def loaded(self) -> list[str]:
        """Names of the loaded models."""
        return self._registry.loaded if self._registry else []

    def take_loads(self) -> dict[str, int]:
        """How often each model was loaded since the last call."""
        return self._registry.take_loads() if self._registry else {}


class Child:
    """Answers frames in threads, each of which reads its own."""

    def __init__(self, service: socket.socket, models: Models, config: EngineConfig) -> None:
        self._service = service
        self._models = models
        self._image_seconds = config.image_seconds
        self._watchdog = Watchdog(config.image_seconds, self._report_overdue)
        BUDGET.configure(config.decoding_bytes, on_wait=self._watchdog.paused)
        self._receiving, self._sending = threading.Lock(), threading.Lock()
        self._threads = [
            threading.Thread(target=self._work, name=f"classify-{n}", daemon=True) for n in range(config.threads)
        ]

    def run(self) -> None:
        """Answer frames until the service closes the connection; unfinished images are abandoned."""
        self._watchdog.start()
        threading.Thread(target=self._send_heartbeats, name="heartbeat", daemon=True).start()
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join()

    def _send_heartbeats(self) -> None:
        """Show that this process is neither stopped nor stuck: a heartbeat needs the lock that every response needs."""
        never = threading.Event()
        while not never.wait(HEARTBEAT_SECONDS):
            with self._sending, contextlib.suppress(OSError):
                self._service.sendall(packed(HEARTBEAT))

    def _work(self) -> None:
        while frame := self._next():
            header, body = frame
            response_body = b""
            try:
                response, response_body = self._respond(header, body)
            except ServiceError as error:
                response = _error(error)
            except Exception as error:
                log.exception(ENGINE_ERROR, header["do"])
                response = {"error": type(error).__name__, "message": str(error)}
            with self._sending, contextlib.suppress(OSError):
                # If the service has closed the connection, the next read ends this thread.
                self._send(header, response, response_body)
        # The first thread to notice ends the process: nobody waits for the others.
        os._exit(0)

    def _next(self) -> tuple[Header, bytes] | None:
        try:
            with self._receiving:
                return receive(self._service)
        except ConnectionError:
            return None

    def _send(self, header: Header, response: Header, body: bytes = b"") -> None:
        if loads := self._models.take_loads():
            response = {**response, "loads": loads}
        self._service.sendall(packed({"id": header["id"], **response}, len(body)) + body)

    def _report_overdue(self, header: Header) -> None:
        """Report an overdue image and exit; the service restarts the engine and retries the other images."""
        limit = f"{self._image_seconds:g} s"
        message = f"The image exceeded the time limit of {limit}: it is damaged or too large for this machine."
        # Only released if the image's thread was faster after all.
        self._sending.acquire()
        if not self._watchdog.is_watching(header):
            self._sending.release()
            return
        log.error(IMAGE_OVERDUE, self._image_seconds)
        with contextlib.suppress(OSError):
            self._send(header, {**_error(ImageUnreadable(message)), "overdue": True})
        os._exit(OVERDUE_STATUS)

    def _respond(self, header: Header, body: bytes) -> tuple[Header, bytes]:
        match header["do"]:
            case "classify":
                classifier = self._models.open().classifier(header["model"])
                with self._watchdog.watching(header):
                    return _classified(classifier, body, header)
            case "render":
                with self._watchdog.watching(header):
                    return {}, render_jpeg(body, header["max_side"])
            case "tensor":
                classifier = self._models.open().classifier(header["model"])
                with self._watchdog.watching(header):
                    return {}, classifier.decode(body).tobytes()
            case "inspect":
                with self._watchdog.watching(header):
                    return _inspected(body, header["max_pixels"], keep=header["keep"])
            case "explain":
                from app.classifier.heat_map import Explainer

                explainer = Explainer(self._models.open().get(header["model"]), header["version"])
                with self._watchdog.watching(header):
                    return {}, explainer.heat_map(body, header["label"], overlay=header["overlay"])
            case "check":
                self._models.open().check(header["model"])
            case "load":
                for name in header["models"]:
                    self._models.open().classifier(name)
        return {"loaded": self._models.loaded}, b""


def _classified(classifier: "Classifier", image: bytes, request: Header) -> tuple[Header, bytes]:
    thresholds = Thresholds(**request["thresholds"]) if request.get("thresholds") else None
    has_details, catalog = request.get("details", True), classifier.model.catalog
    started_at = time.perf_counter()
    tensor = classifier.decode(image)
    decoded = time.perf_counter()
    outputs = classifier.outputs(tensor)
    best = classifier.best_of(outputs.scores)
    header = {
        "scores": [(score.label, score.confidence) for score in best],
        "decision": classifier.decide(best, tensor, thresholds) if has_details else None,
        "categories": [(one.name, one.confidence) for one in catalog.sums(outputs.scores)] if has_details else [],
        "model": classifier.model.name,
        "version": classifier.model.version,
        "decode": decoded - started_at,
        "infer": time.perf_counter() - decoded,
    }
    if not request.get("embed") or outputs.embedding is None:
        return header, b""
    return header, outputs.embedding.astype("<f2").tobytes()


def _inspected(data: bytes, max_pixels: int, *, keep: bool) -> tuple[Header, bytes]:
    try:
        info = inspection.inspect(data, max_pixels)
        return {"info": astuple(info)}, data if keep else inspection.strip_metadata(data, info)
    except MemoryError as error:
        # The process has a memory limit, which no real file reaches.
        raise NotAnImage from error


def _error(error: ServiceError) -> Header:
    reason = {"reason": error.reason} if isinstance(error, NotAnImage) and error.reason else {}
    return {"error": type(error).__name__, "message": error.message, **reason}


def main() -> None:
    """Run the engine."""
    # Ctrl-C reaches all processes of the terminal; the service finishes active requests and then closes the connection.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    service = socket.socket(fileno=int(sys.argv[1]))
    first = receive(service)
    if first is None:
        return
    config = EngineConfig(**first[0])
    logging.config.dictConfig(config.log_config)
    # Pillow warns of each strange tag: a file could write thousands of lines into the log.
    warnings.simplefilter("ignore")
    if config.only_when_idle:
        run_only_when_idle()
    else:
        os.nice(NICENESS)
    folder = Path(config.models_dir)
    restrict(folder, config.max_memory_bytes)
    models = Models(config)
    if config.default:
        models.open()
    gc.freeze()
    Child(service, models, config).run()


if __name__ == "__main__":
    main()
