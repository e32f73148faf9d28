"""Memory for decoding is granted in order of arrival."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from app.images.memory import DecodingBudget


def test_large_image_is_not_overtaken_by_small_ones() -> None:
    budget = DecodingBudget()
    waiting: list[str] = []
    changed = threading.Condition()
    done: list[str] = []

    @contextmanager
    def on_wait() -> Iterator[None]:
        with changed:
            waiting.append(threading.current_thread().name)
            changed.notify_all()
        yield

    budget.configure(10, on_wait)

    def decode(count: int) -> None:
        with budget.reserve(count):
            done.append(threading.current_thread().name)

    def start(name: str, count: int) -> threading.Thread:
        thread = threading.Thread(target=decode, args=(count,), name=name)
        thread.start()
        with changed:
            assert changed.wait_for(lambda: name in waiting, 10)
        return thread

    with budget.reserve(5):
        # Larger than everything: it gets all of it.
        threads = [start("large", 100), start("small", 1), start("another", 4)]
        assert done == []
    for thread in threads:
        thread.join(10)
    assert done[0] == "large"
    assert sorted(done) == ["another", "large", "small"]
    with budget.reserve(10):
        pass
