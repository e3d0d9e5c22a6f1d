"""Requests wait together and pass the network together; none waits for others to come."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from werkzeug.exceptions import ServiceUnavailable

from classifier.inference import BATCH_SIZE
from classifier.preprocessing import Pixels

logger = logging.getLogger(__name__)

Row = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Waiting:
    """An image that waits for the network."""

    pixels: Pixels
    deadline: float
    """Time by time.monotonic after which nobody waits for the answer."""
    answer: Future[Row] = field(default_factory=Future)


class Batcher:
    """A bounded queue of images before a network.

    Each of `num_streams` threads takes, whenever it is free, its share of what waits then, at most BATCH_SIZE images.
    """

    def __init__(self, run: Callable[[Pixels], Sequence[Row]], *, num_streams: int, capacity: int) -> None:
        self._run = run
        self._num_streams = num_streams
        self._capacity = capacity
        self._queue: deque[Waiting] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._threads = [threading.Thread(target=self._work, name="batcher", daemon=True) for _ in range(num_streams)]
        for thread in self._threads:
            thread.start()

    def submit(self, images: Sequence[Pixels], deadline: float) -> list[Row]:
        """Compute the rows of a request's images, waiting for its turn.

        Raises ServiceUnavailable at once when the queue is full, and for a request that is past its deadline.
        """
        waiting = [Waiting(pixels, deadline) for pixels in images]
        with self._changed:
            # An empty queue takes any request, however many images it has.
            is_full = self._queue and len(self._queue) + len(waiting) > self._capacity
            if is_full or self._is_closed:
                raise ServiceUnavailable("more images wait than can be answered soon; ask again later")
            self._queue.extend(waiting)
            self._changed.notify(len(waiting))
        return [item.answer.result() for item in waiting]

    def close(self) -> None:
        """Answer what waits and end the threads."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while batch := self._take():
            now = time.monotonic()
            for item in batch:
                if item.deadline <= now:
                    item.answer.set_exception(ServiceUnavailable("the request waited past its deadline; ask again"))
            self._answer([item for item in batch if not item.answer.done()])

    def _take(self) -> list[Waiting]:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._is_closed)
            share = -(-len(self._queue) // self._num_streams)
            return [self._queue.popleft() for _ in range(min(share, BATCH_SIZE))]

    def _answer(self, batch: list[Waiting]) -> None:
        try:
            rows = self._run(np.stack([item.pixels for item in batch])) if batch else []
        except Exception as error:  # noqa: BLE001 - each request that waits raises it
            for item in batch:
                item.answer.set_exception(error)
        else:
            for item, row in zip(batch, rows, strict=True):
                item.answer.set_result(row)


class Admission:
    """Counts the requests that are being answered, so that some threads stay free for `/ping` and for refusals."""

    def __init__(self, limit: int) -> None:
        self._places = threading.BoundedSemaphore(limit)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place while a request is answered. Raises ServiceUnavailable at once when there is none."""
        if not self._places.acquire(blocking=False):
            raise ServiceUnavailable("as many requests as can be answered soon are being answered; ask again later")
        try:
            yield
        finally:
            self._places.release()
