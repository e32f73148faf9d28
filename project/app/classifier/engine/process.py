"""The engine, seen from the service: a separate process that decodes images and runs image models."""

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from app import PROJECT_DIR, cgroups
from app.classifier.engine.connection import EngineConnection
from app.classifier.engine.frames import (
    HEARTBEAT,
    HEARTBEAT_SECONDS,
    OVERDUE_STATUS,
    EngineConfig,
    Header,
)
from app.classifier.engine.sandbox import minimal_environment, unprivileged
from app.classifier.similarity import code_of
from app.domain import (
    CategoryScore,
    Decision,
    EngineDied,
    EngineFailed,
    EngineInterrupted,
    ImageEmbedding,
    ImageInfo,
    ImageTooLarge,
    ImageUnreadable,
    LabelScore,
    ModelBroken,
    ModelUnknown,
    NotAnImage,
    NotExplainable,
    ServiceError,
    Thresholds,
)
from app.observability import metrics, timing
from app.observability.log_events import (
    ENGINE_DIED,
    ENGINE_ENDED_FOR_MEMORY,
    ENGINE_HUNG,
    ENGINE_NOT_STARTED,
    ENGINE_SAID,
)

log = logging.getLogger(__name__)

ERRORS: Final[dict[str, type[ServiceError]]] = {
    error.__name__: error
    for error in (ImageTooLarge, ImageUnreadable, ModelBroken, ModelUnknown, NotAnImage, NotExplainable)
}
MAX_SENT_PER_THREAD: Final = 2
"""Images sent to the engine per thread: the current one and the next. If it dies, all of them are retried."""
HUNG_CHECKS: Final = 10
"""Missing heartbeats after which the process is killed."""
START_CHECKS: Final = 60
"""The same before the first one, while libraries are read from a slow disk."""
IDLE_PATIENCE: Final = 30
"""How many times as long a process that runs only while others are idle may be silent."""
RESTART_SECONDS: Final = 1.0
STOP_SECONDS: Final = 1.0
MAX_LOG_LINE: Final = 2**20
NATIVE_INFO: Final = "INFO: "
"""How lines of LiteRT begin that are of no interest to users, such as the use of XNNPACK."""


@dataclass(frozen=True, slots=True)
class Classification:
    """A model's result for an image: its best labels, highest confidence first, the model, and the time it took."""

    scores: list[LabelScore]
    model: str
    version: str
    seconds: tuple[float, float] = field(compare=False)
    """Of decoding, and of inference."""
    embedding: ImageEmbedding | None = field(default=None, compare=False)
    """If it was asked for, and the model has an output for it."""
    categories: Sequence[CategoryScore] = ()
    decision: Decision | None = None
    """None for custom models, which answer ``other`` instead."""


class Engine:
    """Starts the process, sends it requests, and restarts it when it dies."""

    def __init__(self, config: EngineConfig, name: str = "The engine") -> None:
        """``name``: of the process, for the log."""
        self.config = config
        self._name = name
        self._slot_count = config.threads * MAX_SENT_PER_THREAD
        self._slots = asyncio.Semaphore(self._slot_count)
        self._alone = asyncio.Lock()
        # Separate, so that renditions do not wait behind classifications.
        self._render_slots = asyncio.Semaphore(config.threads)
        self._pending: dict[int, asyncio.Future[Header]] = {}
        self._last_id = 0
        self._connection: EngineConnection | None = None
        self._ready, self._requested = asyncio.Event(), asyncio.Event()
        self._start_task: asyncio.Task[None] | None = None
        self._has_started = False
        self._was_overdue = False
        self._patience = IDLE_PATIENCE if config.only_when_idle else 1
        self._silent_checks, self._limit_checks = 0, START_CHECKS * self._patience

    @asynccontextmanager
    async def running(self, *, on_demand: bool = False) -> AsyncIterator[None]:
        """Run the engine while inside; ``on_demand``: start it with the first request."""
        if not on_demand:
            await self._start()
        supervisor = asyncio.create_task(self._supervise())
        try:
            yield
        finally:
            supervisor.cancel()
            await asyncio.wait([supervisor])
            if self._start_task:
                # Cancelling a start would leave its process behind.
                await asyncio.wait([self._start_task])
            if self._has_started:
                # Killing it loses nothing, while a graceful stop could wait for a start or an image.
                self.kill()
                # Also completes a stop that the supervisor had begun.
                await self._stop()

    @property
    def is_busy(self) -> bool:
        """Whether a request waits for its response."""
        return bool(self._pending)

    @property
    def is_alive(self) -> bool:
        """Whether the process is running."""
        return self._ready.is_set()

    async def classify(
        self,
        model: str,
        data: bytes,
        *,
        alone: bool = False,
        embed: bool = False,
        thresholds: Thresholds | None = None,
        details: bool = True,
    ) -> Classification:
        """The best labels of an image; ``alone``: while the process classifies no other image.

        ``embed``: the result has the image's embedding as well, if the model has an output for it.
        ``thresholds``: from which the result is sure, instead of those in the model's manifest. Without ``details``, it
        has neither a decision nor categories.
        Raises ImageUnreadable, ModelUnknown or ModelBroken, EngineFailed, or EngineDied if the process died:
        EngineInterrupted if another image was the cause.
        """
        header: Header = {"do": "classify", "model": model, "embed": embed}
        if thresholds:
            header["thresholds"] = asdict(thresholds)
        if not details:
            header["details"] = False
        slots = await self._acquire(self._slot_count if alone else 1)
        try:
            response = await self._send(header, data)
        except BaseException:
            self._release(slots)
            raise
        # The engine works on a request even if its caller has gone: only its response frees the slot.
        response.add_done_callback(lambda _: self._release(slots))
        result = await _result(response)
        scores = [LabelScore(label, confidence) for label, confidence in result["scores"]]
        if not self.config.only_when_idle:
            timing.record_stage("decode", result["decode"])
            timing.record_stage("infer", result["infer"])
        seconds = (result["decode"], result["infer"])
        model, version, vector = result["model"], result["version"], result.get("body")
        embedding = ImageEmbedding(model, version, vector, code_of(vector)) if vector else None
        categories = [CategoryScore(name, confidence) for name, confidence in result["categories"]]
        decision = Decision(result["decision"]) if result["decision"] else None
        return Classification(scores, model, version, seconds, embedding, categories, decision)

    async def _acquire(self, count: int) -> int:
        acquired = 0
        # One at a time, or two would wait for each other's slots.
        async with self._alone if count > 1 else nullcontext():
            try:
                while acquired < count:
                    await self._slots.acquire()
                    acquired += 1
            except BaseException:
                self._release(acquired)
                raise
        return acquired

    def _release(self, count: int) -> None:
        for _ in range(count):
            self._slots.release()

    async def render(self, data: bytes, max_side: int) -> bytes:
        """An image as a JPEG for people, its longer side at most ``max_side`` pixels.

        Raises ImageUnreadable, EngineFailed or EngineDied.
        """
        return await self._request_rendering({"do": "render", "max_side": max_side}, data)

    async def tensor(self, model: str, data: bytes) -> bytes:
        """The input tensor of an image model for an image, float32 of shape (size, size, 3), as bytes.

        Raises ImageUnreadable, ModelUnknown, ModelBroken, EngineFailed or EngineDied.
        """
        return await self._request_rendering({"do": "tensor", "model": model}, data)

    async def inspect(self, data: bytes, max_pixels: int, *, keep: bool) -> tuple[ImageInfo, bytes]:
        """Format and size of a file, and the file without its metadata, or as it is with ``keep``.

        Raises NotAnImage, ImageTooLarge, EngineFailed or EngineDied.
        """
        header: Header = {"do": "inspect", "max_pixels": max_pixels, "keep": keep}
        result = await _result(await self._send(header, data))
        return ImageInfo(*result["info"]), result["body"]

    def kill(self) -> None:
        """End the process at once; it is restarted, and pending requests fail with EngineDied."""
        if self._has_started:
            # Requests from now on are for the next process.
            self._ready.clear()
            with suppress(ProcessLookupError):
                self._process.kill()

    async def explain(self, model: str, version: str, label: str, data: bytes, *, overlay: bool = False) -> bytes:
        """A PNG of an image with the heat map of a label; ``overlay``: of the heat map alone.

        Raises ImageUnreadable, ModelUnknown, NotExplainable, EngineFailed or EngineDied.
        """
        return await self._request_rendering(
            {"do": "explain", "model": model, "version": version, "label": label, "overlay": overlay}, data
        )

    async def _request_rendering(self, header: Header, data: bytes) -> bytes:
        async with self._render_slots:
            body: bytes = (await _result(await self._send(header, data)))["body"]
            return body

    async def load(self, models: list[str]) -> None:
        """Load models. Raises ModelUnknown or ModelBroken."""
        await self._request({"do": "load", "models": models})

    async def loaded(self) -> list[str]:
        """Names of the loaded models."""
        names: list[str] = (await self._request({"do": "list"}))["loaded"]
        return names

    async def check(self, model: str) -> None:
        """Load a model of any kind and discard it. Raises ModelUnknown, ModelBroken, EngineFailed or EngineDied."""
        await self._request({"do": "check", "model": model})

    async def _request(self, header: Header) -> Header:
        return await _result(await self._send(header))

    async def _send(self, header: Header, body: bytes = b"") -> asyncio.Future[Header]:
        self._requested.set()
        await self._ready.wait()
        assert self._connection is not None
        self._last_id += 1
        response: asyncio.Future[Header] = asyncio.get_running_loop().create_future()
        self._pending[self._last_id] = response
        # Retrieves the exception if the caller has gone, so that asyncio does not report it.
        response.add_done_callback(lambda done: done.exception())
        self._connection.send({**header, "id": self._last_id}, body)
        return response

    async def _start(self) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        _, self._connection = await loop.create_connection(lambda: EngineConnection(self._on_frame), sock=ours)
        with theirs, _closed_on_error(self._connection):
            prefix = await asyncio.to_thread(unprivileged, Path(self.config.models_dir))
            self._process = await asyncio.create_subprocess_exec(
                *prefix,
                *(sys.executable, "-m", "app.classifier.engine.child", str(theirs.fileno())),
                pass_fds=[theirs.fileno()],
                cwd=PROJECT_DIR,
                stdin=asyncio.subprocess.DEVNULL,
                # Relayed, because native libraries write lines of their own.
                stderr=asyncio.subprocess.PIPE,
                # Ctrl-C in the terminal is for the service, which stops the engine.
                start_new_session=True,
                limit=MAX_LOG_LINE,
                env={**minimal_environment(), "PYTHONPATH": str(PROJECT_DIR)},
            )
        assert self._process.stderr is not None
        self._relay_task = asyncio.create_task(_relay_output(self._process.stderr, self.config.logs_json))
        self._connection.send(asdict(self.config))
        self._ready.set()
        self._has_started = True

    def _on_frame(self, header: Header, body: bytes) -> None:
        """Resolve a response."""
        self._silent_checks, self._limit_checks = 0, HUNG_CHECKS * self._patience
        if header == HEARTBEAT:
            return
        if body:
            header["body"] = body
        if loads := header.pop("loads", None):
            for model, count in loads.items():
                metrics.MODEL_LOADS.labels(model).inc(count)
        self._was_overdue |= header.pop("overdue", False)
        future = self._pending.pop(header["id"], None)
        if future and not future.done():
            future.set_result(header)

    async def _supervise(self) -> None:
        """Start the process if it is not running, and restart it whenever it ends."""
        if not self._ready.is_set():
            await self._requested.wait()
            await self._start_with_retries()
        while True:
            was_killed_for_memory = await self._until_ended()
            active = len(self._pending)
            status = await self._stop()
            if not self.config.only_when_idle:
                metrics.ENGINE_DEATHS.inc()
            log.error(ENGINE_DIED, self._name, status, active)
            if status == -signal.SIGKILL and was_killed_for_memory:
                log.error(ENGINE_ENDED_FOR_MEMORY, self._name)
            await asyncio.sleep(RESTART_SECONDS)
            await self._start_with_retries()

    async def _until_ended(self) -> bool:
        """Wait until the process has closed its connection; kill it if its heartbeats stop.

        Returns whether the kernel killed a process of the container for its memory at that moment.

        Silence is counted in checks, so that it does not count while this process does not run itself (a paused
        container, a laptop that sleeps).
        """
        self._silent_checks, self._limit_checks = 0, START_CHECKS * self._patience
        kills = cgroups.memory_kills()
        assert self._connection is not None
        ended = self._connection.ended
        while not ended.done():
            kills = cgroups.memory_kills()
            await asyncio.wait([ended], timeout=HEARTBEAT_SECONDS)
            self._silent_checks += 1
            if self._silent_checks > self._limit_checks and not ended.done():
                log.error(ENGINE_HUNG, self._name, self._limit_checks * HEARTBEAT_SECONDS)
                self.kill()
                return False
        return cgroups.memory_kills() > kills

    async def _start_with_retries(self) -> None:
        while not self._ready.is_set():
            self._start_task = asyncio.create_task(self._start())
            try:
                await asyncio.shield(self._start_task)
            except OSError:
                # Out of memory or processes. This loop must go on, because nothing else brings the engine back.
                log.exception(ENGINE_NOT_STARTED, self._name)
                await asyncio.sleep(RESTART_SECONDS)

    async def _stop(self) -> int:
        """Close the connection, which ends the process; pending requests fail with EngineDied."""
        self._ready.clear()
        assert self._connection is not None
        self._connection.close()
        try:
            # Not wait_for, which before Python 3.12 loses a cancellation that arrives together with the result.
            async with asyncio.timeout(STOP_SECONDS):
                status = await self._process.wait()
        except TimeoutError:
            self._process.kill()
            status = await self._process.wait()
        if self._relay_task:
            await self._relay_task
        # Only the process that has reported the image at fault clears the others.
        error = EngineInterrupted if status == OVERDUE_STATUS and self._was_overdue else EngineDied
        self._was_overdue = False
        for future in self._pending.values():
            if not future.done():
                future.set_exception(error())
        self._pending.clear()
        return status


async def _result(response: asyncio.Future[Header]) -> Header:
    header = await asyncio.shield(response)
    if header.get("error") == NotAnImage.__name__:
        raise NotAnImage(reason=header.get("reason"))
    if error := header.get("error"):
        raise ERRORS[error](header["message"]) if error in ERRORS else EngineFailed(f"{error}: {header['message']}")
    return header


async def _relay_output(output: asyncio.StreamReader, is_json: bool) -> None:
    """Pass on the process's own log lines, and log the output of native libraries."""
    while line := await output.readline():
        text = line.decode(errors="replace").rstrip()
        if text.startswith(NATIVE_INFO):
            log.debug(ENGINE_SAID, text)
        elif not is_json or text.startswith("{"):
            sys.stderr.write(f"{text}\n")
        elif text:
            log.info(ENGINE_SAID, text)


@contextmanager
def _closed_on_error(connection: EngineConnection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise
