"""The processes of a contender and their CPU and memory."""

import socket
import threading
from typing import Final, Self

import psutil

SAMPLE_SECONDS: Final = 1.5


def free_port() -> int:
    """A free TCP port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def processes_beside(others: set[int], naming: str = "") -> list[psutil.Process]:
    """Processes other than ``others`` and the client; with ``naming``, those whose command line contains it."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = " ".join(process.info["cmdline"] or [])
        if process.pid not in others and "benchmarks.client" not in command and naming in command:
            found.append(process)
    return found


class Watchdog:
    """CPU seconds and peak memory of all processes started within the block, while ``begin`` … ``end`` is measured.

    Memory is the proportional set size: what processes share is counted once.
    """

    def __init__(self) -> None:
        self._others = set(psutil.pids())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._cpu: dict[int, float] = {}
        self.cpu_seconds = 0.0
        self.peak_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    def begin(self) -> None:
        """Start measuring."""
        self._cpu = self._cpu_now()
        self._thread.start()

    def end(self) -> None:
        """Stop measuring. Processes that have ended are not counted; services keep theirs."""
        self.cpu_seconds = sum(seconds - self._cpu.get(pid, 0.0) for pid, seconds in self._cpu_now().items())
        self._stop.set()
        self._thread.join()

    def _cpu_now(self) -> dict[int, float]:
        used = {}
        for process in processes_beside(self._others):
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            used[process.pid] = times.user + times.system
        return used

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            total = 0
            for process in processes_beside(self._others):
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
            self.peak_bytes = max(self.peak_bytes, total)
