"""Applies the text rule to many prompts, in several processes."""

import collections
import concurrent.futures
import functools
import itertools
import multiprocessing
from collections.abc import Iterator, Sequence

from tf_prompt.data.text import normalise

# Prompts that a process takes at a time, a second's work.
_CHUNK = 10_000


def join_words(
    prompts: Sequence[str], processes: int, max_words: int | None = None
) -> Iterator[str]:
    """Gives the words of each prompt, joined by spaces.

    Args:
        prompts: text as the user wrote it.
        processes: how many work at once; one works here, without a child.
        max_words: words kept of each; None keeps all.

    Returns:
        An iterator in the order of the prompts.
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
            # Not all at once: what waits is held in memory twice.
            if len(waiting) > 4 * processes:
                yield from waiting.popleft().result()
        for future in waiting:
            yield from future.result()


def _join_chunk(prompts: Sequence[str], max_words: int | None) -> list[str]:
    return [normalise(prompt, max_words) for prompt in prompts]
