"""The built-in default data set: drawn images, written once to a cache."""

import contextlib
import hashlib
import itertools
import json
import os
import pathlib
import shutil
import uuid
from collections.abc import Iterable, Iterator

import numpy as np
import tqdm

from tf_prompt import files, options
from tf_prompt.data import images, records, split, text
from tf_prompt.data.toy import grammar, render, workers

# Part of the cache folder's name: increase it with every change of images or prompts,
# or users keep the old set.
TOY_VERSION = 3
NUM_PROMPTS, IMAGE_SIZE, NUM_PARTS = 8000, 96, 8


def toy_folder(
    num_prompts: int = NUM_PROMPTS, image_size: int = IMAGE_SIZE, seed: int = 0
) -> pathlib.Path:
    """Returns the folder of the toy set, and writes it the first time.

    It is written atomically, so that processes may race for it, in
    `$TF_PROMPT_CACHE`, or else in `tf_prompt` in the user's cache folder.

    Args:
        num_prompts: int > 0, number of prompts.
        image_size: int > 0, side of the images, pixels.
        seed: int, seed of prompts and images.

    Returns:
        A folder of shards, see `write_toy`.
    """
    folder = _find_folder(_settings(num_prompts, image_size, seed))
    if folder.is_dir():
        return folder
    temporary = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.part")
    try:
        write_toy(temporary, num_prompts, image_size, seed)
        _rename_unless_there(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def is_written() -> bool:
    """Whether the toy set is in the cache already."""
    return _find_folder(_settings(NUM_PROMPTS, IMAGE_SIZE, 0)).is_dir()


def list_prompts(
    name: str, count: int | None = None, num_prompts: int = NUM_PROMPTS, seed: int = 0
) -> list[tuple[int, grammar.Scene, str]]:
    """Lists the prompts of a split without drawing images.

    Args:
        name: one of `split.SPLITS`.
        count: number of prompts from the start; None takes all.
        num_prompts: number of prompts in all splits.
        seed: int, seed of the prompts.

    Returns:
        list of triples of the index in the toy set, the scene and the prompt.
    """
    # A longer list starts with the shorter one, and the smallest split is a twentieth.
    size = num_prompts if count is None else min(num_prompts, 40 * count)
    while True:
        found = [
            (index, scene, prompt)
            for index, (scene, prompt) in enumerate(grammar.draw_prompts(size, seed))
            if split.split_of(text.split_words(prompt)) == name
        ][:count]
        if size == num_prompts or len(found) == count:
            return found
        size = min(num_prompts, 2 * size)


def draw_examples(name: str, count: int, seed: int = 0) -> list[tuple[str, bytes]]:
    """Draws the first images of a split, as they are in the toy set.

    Args:
        name: one of `split.SPLITS`.
        count: number of images.
        seed: int, seed of the toy set.

    Returns:
        list of pairs of a prompt and the image as JPEG.
    """
    drawn = []
    for index, scene, prompt in list_prompts(name, count, seed=seed):
        image = render.draw_image(scene, seed + index, IMAGE_SIZE)
        drawn.append((prompt, images.encode_jpeg(np.asarray(image))))
    return drawn


def write_toy(
    folder: str | pathlib.Path,
    num_prompts: int = NUM_PROMPTS,
    image_size: int = IMAGE_SIZE,
    seed: int = 0,
) -> dict[str, int]:
    """Writes the toy set: `NUM_PARTS` shards per split, then `stats.json`.

    Args:
        folder: the folder; created if missing.
        num_prompts: int > 0, number of prompts, all different, with one image each.
        image_size: int > 0, side of the images, pixels.
        seed: int, seed of prompts and images; equal arguments give equal bytes.

    Returns:
        dict of the number of examples of each split.

    Raises:
        ValueError: if a number is not positive.
    """
    for name, value in (("num_prompts", num_prompts), ("image_size", image_size)):
        if value < 1:
            raise ValueError(f"{name} must be positive. Received: {value}")
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    examples = dict.fromkeys(split.SPLITS, 0)
    prompts = [prompt for _, prompt in grammar.draw_prompts(num_prompts, seed)]
    raw_images = workers.draw_images(num_prompts, image_size, seed)
    bar = tqdm.tqdm(total=num_prompts, desc="toy set", unit=" images", mininterval=1)
    with contextlib.closing(raw_images), bar:
        drawn = _make_records(prompts, raw_images, image_size)
        for part in range(NUM_PARTS):
            start, end = (num_prompts * p // NUM_PARTS for p in (part, part + 1))
            own = itertools.islice(drawn, end - start)
            for name, count in _write_part(folder, part, own, bar).items():
                examples[name] += count
    stats = {"examples": examples, **_settings(num_prompts, image_size, seed)}
    files.write_json(folder / "stats.json", stats)
    return examples


def _settings(num_prompts: int, image_size: int, seed: int) -> dict[str, int]:
    return {
        "toy_version": TOY_VERSION,
        "num_prompts": num_prompts,
        "image_size": image_size,
        "seed": seed,
    }


def _find_folder(settings: dict[str, int]) -> pathlib.Path:
    digest = hashlib.blake2b(json.dumps(settings).encode(), digest_size=6).hexdigest()
    return options.user_cache() / f"toy-{digest}"


def _rename_unless_there(temporary: pathlib.Path, folder: pathlib.Path) -> None:
    try:
        os.rename(temporary, folder)
    except OSError:
        # Another process was faster; its folder has the same bytes.
        if not folder.is_dir():
            raise


def _make_records(prompts, raw_images, image_size: int) -> Iterator[records.Record]:
    for index, (prompt, raw) in enumerate(zip(prompts, raw_images, strict=True)):
        image = np.frombuffer(raw, np.uint8)
        yield records.Record(
            image_id=f"{index:06d}.jpg",
            image=images.encode_jpeg(image.reshape(image_size, image_size, 3)),
            prompt=prompt,
            words=text.split_words(prompt),
        )


def _write_part(
    folder: pathlib.Path, part: int, drawn: Iterable[records.Record], bar: tqdm.tqdm
) -> dict[str, int]:
    with contextlib.ExitStack() as stack:
        writers = {
            name: stack.enter_context(
                records.ShardWriter(records.shard_path(folder, name, part))
            )
            for name in split.SPLITS
        }
        for record in drawn:
            writers[split.split_of(record.words)].write(record)
            bar.update()
    return {name: writer.num_records for name, writer in writers.items()}
