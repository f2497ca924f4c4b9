"""Images decoded ahead of whoever consumes them, in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import TypeVar

from joblib import effective_n_jobs

from skiqa._inputs.images import ImageList
from skiqa._types import Pixels
from skiqa.exceptions import ImageError

Result = TypeVar("Result")

# What photos may take together while they are decoded and wait for the consumer. One photo alone
# may take more.
BYTES_IN_FLIGHT = 2**30


def iter_decoded(
    images: ImageList,
    *,
    n_jobs: int | None = None,
    prefetch: int = 4,
    on_error: str = "raise",
    indices: Iterable[int] | None = None,
    max_pixels: int | None = None,
) -> Generator[tuple[int, Pixels | ImageError]]:
    """Decode images ahead of the consumer, and yield them in order.

    Parameters
    ----------
    images : ImageList
    n_jobs : int, optional
        Decoding threads, as joblib counts them: None is 1, -1 all cores. Threads, because Pillow's
        decoders release Python's lock. Even one decodes while the consumer computes.
    prefetch : int
        How many images are kept decoded or in decoding beyond the one the consumer holds; at
        least one for each thread. Fewer where photos are so large that together they would take
        more than BYTES_IN_FLIGHT, to judge by their headers.
    on_error : {"raise", "nan"}
        "raise": an ImageError is raised when its turn comes, after the images before it were
        yielded. "nan": it is yielded in the image's place. Other errors are always raised.
    indices : sequence of int, optional
        Which images, in which order; None is all of them.
    max_pixels : int, optional
        Images with more pixels are brought to that many; None is never.

    Yields
    ------
    index : int
    image : ndarray of shape (h, w, 3), uint8, or ImageError

    Notes
    -----
    When the generator is closed, or its consumer raises and drops it, images still waiting are not
    decoded, and the threads have ended when ``close`` returns.

    Examples
    --------
    >>> import numpy as np
    >>> from skiqa._inputs.containers import as_image_list
    >>> from skiqa._inputs.prefetch import iter_decoded
    >>> images = as_image_list([np.zeros((4, 6)), "no such file.jpg"])
    >>> [type(image).__name__ for _, image in iter_decoded(images, on_error="nan")]
    ['ndarray', 'ImageError']
    """
    n_threads = effective_n_jobs(n_jobs)
    return iter_ahead(
        lambda index: images.load(index, max_pixels),
        range(len(images)) if indices is None else indices,
        n_threads=n_threads,
        n_ahead=max(prefetch, n_threads),
        on_error=on_error,
        footprint=lambda index: images.footprint(index, max_pixels),
    )


def iter_ahead(
    work: Callable[[int], Result],
    indices: Iterable[int],
    *,
    n_threads: int,
    n_ahead: int,
    on_error: str,
    footprint: Callable[[int], int] | None = None,
) -> Generator[tuple[int, Result | ImageError]]:
    """Do some work for each of some images in threads, and yield its results in order.

    Parameters
    ----------
    work : callable
        From an index to a result.
    indices : iterable of int
    n_threads : int
    n_ahead : int
        How many results are kept, or are being worked for, beyond the one the consumer holds.
    on_error : {"raise", "nan"}
        As for `iter_decoded`, which also says how it ends.
    footprint : callable, optional
        From an index to about how many bytes its work takes, asked in the thread that does it;
        it must not raise. None: memory is not looked at.

    Yields
    ------
    index : int
    result : what `work` returns, or ImageError
    """
    remaining = enumerate(indices)
    executor = ThreadPoolExecutor(n_threads, thread_name_prefix="skiqa-decode")
    # glibc keeps what a thread has freed for that thread. Of photos that take more than half of the
    # limit no two are decoded at once: one thread for all of them costs no time.
    one_thread = ThreadPoolExecutor(1, thread_name_prefix="skiqa-decode-large")
    waiting: deque[tuple[int, int, Future[Result]]] = deque()
    memory = _Memory(BYTES_IN_FLIGHT)

    def work_within_memory(turn: int, index: int) -> Result:
        n_bytes = footprint(index) if footprint is not None else 0
        memory.reserve(turn, n_bytes)
        large = 2 * n_bytes > BYTES_IN_FLIGHT
        result = one_thread.submit(work, index).result() if large else work(index)
        memory.shrink(turn, getattr(result, "nbytes", 0))
        return result

    def top_up() -> None:
        while len(waiting) < n_ahead:
            turn, index = next(remaining, (None, None))
            if turn is None or index is None:
                return
            waiting.append((turn, index, executor.submit(work_within_memory, turn, index)))

    try:
        top_up()
        while waiting:
            turn, index, future = waiting.popleft()
            result: Result | ImageError
            try:
                result = future.result()
            except ImageError as error:
                if on_error == "raise":
                    raise
                result = _without_frames(error)
            del future  # it holds the result, and the consumer may keep us waiting
            top_up()
            yield index, result
            del result
            memory.give_back(turn)
    finally:
        memory.close()
        executor.shutdown(wait=True, cancel_futures=True)
        one_thread.shutdown()


class _Memory:
    """Bytes that are handed to turns 0, 1, 2, ... in this order, up to a limit.

    A turn waits for nothing but earlier ones, and the consumer takes results in the same order: so
    whatever it waits for is, at the latest, alone and let through.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: dict[int, int] = {}
        self._next = 0
        self._closed = False
        self._changed = threading.Condition()

    def reserve(self, turn: int, n_bytes: int) -> None:
        """Wait until there is room; CancelledError once nobody wants the result any more."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or (turn == self._next and self._has_room(n_bytes))
            )
            if self._closed:
                raise CancelledError
            self._held[turn] = n_bytes
            self._next += 1
            self._changed.notify_all()

    def _has_room(self, n_bytes: int) -> bool:
        held = sum(self._held.values())
        return not held or held + n_bytes <= self._limit

    def shrink(self, turn: int, n_bytes: int) -> None:
        """Keep of a turn's bytes no more than its result takes."""
        with self._changed:
            self._held[turn] = min(self._held[turn], n_bytes)
            self._changed.notify_all()

    def give_back(self, turn: int) -> None:
        """Take all of a turn's bytes back."""
        with self._changed:
            del self._held[turn]
            self._changed.notify_all()

    def close(self) -> None:
        """End all waiting."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def _without_frames(error: ImageError) -> ImageError:
    """Drop tracebacks, whose frames would keep half-decoded images alive as long as the error."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        if link.__cause__ is not None:
            link.__context__ = None
        link = link.__cause__ or link.__context__
    return error
