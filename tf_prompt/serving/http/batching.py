"""Batches requests that arrive while the model is busy."""

import asyncio
import collections
import concurrent.futures
import math
import time
from collections.abc import Callable, Sequence

from tf_prompt.serving.http.measures import Measures


class Batcher:
    """Calls a function for several requests at once.

    The first request is passed on at once; those that come while all threads are busy
    wait together and make the next batch. No time is spent waiting for company.

    Args:
        write: function from a list of requests to a list of answers in their order; it
            is called in threads.
        batch_size: int > 0. Requests in a batch at most.
        num_threads: int > 0. Batches at once.
        measures: where sizes and times are noted.

    Call arguments:
        request: one request.

    Returns:
        Its answer. What `write` raises is raised for each request of the batch.
    """

    def __init__(
        self,
        write: Callable[[Sequence], Sequence],
        batch_size: int,
        num_threads: int,
        measures: Measures,
    ):
        self._write, self._batch_size = write, batch_size
        self._measures, self._free = measures, num_threads
        self._pool = concurrent.futures.ThreadPoolExecutor(num_threads)
        self._waiting: collections.deque = collections.deque()
        # Seconds of the last batch.
        self._last = 1.0

    async def __call__(self, request):
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        self._start()
        return await future

    def estimate_wait(self) -> int:
        """Estimates the seconds until all that wait now are answered; 1 at least."""
        batches = math.ceil(len(self._waiting) / self._batch_size) + 1
        return max(1, math.ceil(batches * self._last))

    def close(self) -> None:
        """Ends the threads, behind their batches."""
        self._pool.shutdown()

    def _start(self) -> None:
        while self._free and self._waiting:
            count = min(self._batch_size, len(self._waiting))
            batch = [self._waiting.popleft() for _ in range(count)]
            # Whoever asked may have gone.
            batch = [(request, f) for request, f in batch if not f.cancelled()]
            if batch:
                self._free -= 1
                requests, futures = zip(*batch, strict=True)
                loop = asyncio.get_running_loop()
                running = loop.run_in_executor(self._pool, self._call, requests)
                running.add_done_callback(lambda done, f=futures: self._end(done, f))

    def _call(self, requests):
        start = time.perf_counter()
        answers = self._write(requests)
        seconds = time.perf_counter() - start
        self._measures.batch_images.observe(len(requests))
        self._measures.batch_seconds.observe(seconds)
        self._last = seconds
        return answers

    def _end(self, done, futures) -> None:
        self._free += 1
        error = done.exception()
        answers = [None] * len(futures) if error else done.result()
        for future, answer in zip(futures, answers, strict=True):
            if not future.done():
                future.set_exception(error) if error else future.set_result(answer)
        self._start()
