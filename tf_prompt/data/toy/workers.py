"""Draws the toy set's images in several processes.

Each is a plain child that runs this module: pools of the standard library import the
caller's script again, which fails for scripts without a main guard.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence

from tf_prompt.data.toy import grammar, render

# Below this, starting processes costs more than it saves.
_MIN_PARALLEL = 400
_MAX_WORKERS = 8


def draw_images(num_prompts: int, image_size: int, seed: int) -> Iterator[bytes]:
    """Draws the images of `grammar.draw_prompts(num_prompts, seed)`.

    Args:
        num_prompts: int > 0, number of prompts.
        image_size: int > 0, side of the images, pixels.
        seed: int, seed of prompts and images.

    Yields:
        The pixels of each image in order, `image_size` rows of RGB bytes.

    Raises:
        RuntimeError: if a worker ends early.
    """
    if num_prompts < _MIN_PARALLEL:
        yield from _draw_share(num_prompts, image_size, seed, 0, 1)
        return
    num_workers = min(os.cpu_count() or 1, _MAX_WORKERS)
    num_bytes = 3 * image_size**2
    with contextlib.ExitStack() as stack:
        workers = []
        for worker in range(num_workers):
            share = (num_prompts, image_size, seed, worker, num_workers)
            workers.append(stack.enter_context(_start(share)))
            stack.callback(workers[-1].terminate)
        for index in range(num_prompts):
            # In turn, image by image: a pipe holds two, and a worker that is not read
            # from would wait for its turn.
            image = workers[index % num_workers].stdout.read(num_bytes)
            if len(image) != num_bytes:
                raise RuntimeError("a process that draws the toy set ended early")
            yield image


def _start(share: tuple[int, ...]) -> subprocess.Popen:
    # The child must find this package where the parent found it.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "tf_prompt.data.toy.workers", *map(str, share)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)


def _draw_share(
    num_prompts: int, image_size: int, seed: int, worker: int, num_workers: int
) -> Iterator[bytes]:
    pairs = grammar.draw_prompts(num_prompts, seed)
    for index, (scene, _) in enumerate(pairs):
        if index % num_workers == worker:
            yield render.draw_image(scene, seed + index, image_size).tobytes()


def main(argv: Sequence[str] | None = None) -> int:
    """Writes one worker's share of images to stdout; not for users."""
    share = map(int, sys.argv[1:] if argv is None else argv)
    for image in _draw_share(*share):
        sys.stdout.buffer.write(image)
    return 0


if __name__ == "__main__":
    sys.exit(main())
