"""Images decoded ahead of whoever consumes them, in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import closing
from queue import SimpleQueue
from typing import TypeVar

from joblib import effective_n_jobs

from skiqa._inputs.images import ImageList
from skiqa._types import Pixels
from skiqa.exceptions import ImageError

Item = TypeVar("Item")
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
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    n_threads: int,
    n_ahead: int,
    on_error: str,
    footprint: Callable[[Item], int] | None = None,
    limit: int | None = None,
) -> Generator[tuple[Item, Result | ImageError]]:
    """Do some work for each of some images in threads, and yield its results in order.

    Parameters
    ----------
    work : callable
        From an item to a result.
    items : iterable
        Such as the indices of images. They are drawn one by one, in the consumer's thread; not as
        many as would hold more than `limit` together, by their ``nbytes``.
    n_threads : int
    n_ahead : int
        How many results are kept, or are being worked for, beyond the one the consumer holds.
    on_error : {"raise", "nan"}
        As for `iter_decoded`, which also says how it ends.
    footprint : callable, optional
        From an item to about how many bytes its work takes, asked in the thread that does it;
        it must not raise. None: what work takes is known when it is done; beyond the limit there
        is what each thread has in hand.
    limit : int, optional
        Bytes of all that is in work or waits for the consumer. None: BYTES_IN_FLIGHT.

    Yields
    ------
    item
    result : what `work` returns, or ImageError
    """
    remaining = enumerate(items)
    executor = ThreadPoolExecutor(n_threads, thread_name_prefix="skiqa-decode")
    # glibc keeps what a thread has freed for that thread. Of photos that take more than half of the
    # limit no two are decoded at once: one thread for all of them costs no time.
    one_thread = ThreadPoolExecutor(1, thread_name_prefix="skiqa-decode-large")
    waiting: deque[tuple[int, Item, Future[Result]]] = deque()
    memory = _Memory(BYTES_IN_FLIGHT if limit is None else limit)

    def work_within_memory(turn: int, item: Item) -> Result:
        if footprint is None:
            return work_first(turn, item)
        n_bytes = footprint(item)
        memory.reserve(turn, n_bytes)
        large = 2 * n_bytes > memory.limit
        result = one_thread.submit(work, item).result() if large else work(item)
        memory.shrink(turn, _size(result))
        return result

    def work_first(turn: int, item: Item) -> Result:
        n_bytes = 0
        try:
            result = work(item)
            n_bytes = _size(result)
            return result
        finally:  # also where there is no result: later ones wait for this turn
            memory.reserve(turn, n_bytes)

    def top_up() -> None:
        while len(waiting) < n_ahead:
            if waiting and sum(_size(item) for _, item, _ in waiting) >= memory.limit:
                return
            coming = next(remaining, None)
            if coming is None:
                return
            waiting.append((*coming, executor.submit(work_within_memory, *coming)))

    try:
        top_up()
        while waiting:
            turn, item, future = waiting.popleft()
            result: Result | ImageError
            try:
                result = future.result()
            except ImageError as error:
                if on_error == "raise":
                    raise
                result = _without_frames(error)
            del future  # it holds the result, and the consumer may keep us waiting
            top_up()
            yield item, result
            del result, item
            memory.give_back(turn)
    finally:
        memory.close()
        executor.shutdown(wait=True, cancel_futures=True)
        one_thread.shutdown()


def _size(result: object) -> int:
    n_bytes: int = getattr(result, "nbytes", 0)
    return n_bytes


def iter_in_thread(items: Generator[Item], *, limit: int) -> Generator[Item]:
    """Draw from a generator in a thread of its own, up to `limit` bytes ahead of the consumer.

    Parameters
    ----------
    items : generator
        Its items say by ``nbytes`` what they hold. It is closed when this one is.
    limit : int
        Bytes that wait for the consumer; beyond it there is the item that was drawn last.

    Yields
    ------
    item
        In order; an error of the generator's is raised when its turn comes.
    """
    memory = _Memory(limit)
    drawn: SimpleQueue[tuple[int, Item] | BaseException | None] = SimpleQueue()
    least = -(-limit // 256)  # so that there is an end to small ones, too

    def draw() -> None:
        try:
            with closing(items):
                for turn, item in enumerate(items):
                    memory.reserve(turn, max(_size(item), least))
                    drawn.put((turn, item))
        except CancelledError:
            return
        except BaseException as error:
            drawn.put(error)
        else:
            drawn.put(None)

    thread = threading.Thread(target=draw, name="skiqa-read", daemon=True)
    thread.start()
    try:
        while (found := drawn.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            turn, item = found
            del found
            yield item
            del item
            memory.give_back(turn)
    finally:
        memory.close()
        thread.join()


class _Memory:
    """Bytes that are handed to turns 0, 1, 2, ... in this order, up to a limit.

    A turn waits for nothing but earlier ones, and the consumer takes results in the same order: so
    whatever it waits for is, at the latest, alone and let through.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
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
        return not held or held + n_bytes <= self.limit

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
