"""Applies the text rule to many prompts, in several processes."""

import collections
import concurrent.futures
import functools
import itertools
import multiprocessing
from collections.abc import Iterator, Sequence

from tf_prompt.data.text import normalise

# Number of prompts per task of a process, a second's work.
_CHUNK = 10_000


def join_words(
    prompts: Sequence[str], processes: int, max_words: int | None = None
) -> Iterator[str]:
    """Normalises prompts: words joined by spaces.

    Args:
        prompts: the original prompts.
        processes: number of processes; 1 starts no child process.
        max_words: maximum number of words of each; None keeps all.

    Yields:
        The words of each prompt, in order.
    """
    join_chunk = functools.partial(_join_chunk, max_words=max_words)
    starts = range(0, len(prompts), _CHUNK)
    chunks = (prompts[start : start + _CHUNK] for start in starts)
    processes = min(processes, len(starts))
    if processes < 2:
        yield from itertools.chain.from_iterable(map(join_chunk, chunks))
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(processes, context) as pool:
        waiting: collections.deque = collections.deque()
        for chunk in chunks:
            waiting.append(pool.submit(join_chunk, chunk))
            # Not all at once, because waiting tasks are in memory twice.
            if len(waiting) > 4 * processes:
                yield from waiting.popleft().result()
        for future in waiting:
            yield from future.result()


def _join_chunk(prompts: Sequence[str], max_words: int | None) -> list[str]:
    return [normalise(prompt, max_words) for prompt in prompts]
