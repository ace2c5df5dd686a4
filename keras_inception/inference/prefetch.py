"""Work done ahead in threads, its results in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def prefetched(
    function: Callable[[T], R], items: Iterable[T], *, threads: int, ahead: int
) -> Iterator[R]:
    """Yield `function(item)` for every item, in order, computed ahead in threads.

    Args:
        function: what to do; if it raises, so does the iterator at that item.
        items: gone through as far as `ahead` allows, in the caller's thread.
        threads: how many work at once.
        ahead: results, done or under way, that may wait to be taken: the bound on memory.

    Yields:
        The results. When the iterator is closed early, what has not begun is dropped.
    """
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="prefetched")
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
