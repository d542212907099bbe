"""Images of the toy set for visitors without images of their own."""

import pathlib
from collections.abc import Sequence

from tf_prompt.data import folder as data_folder
from tf_prompt.data.embedding_batches import Examples
from tf_prompt.data.toy import shards as toy_shards
from tf_prompt.runs.run import Run

COUNT = 6
_SPLIT = "test"


def write_examples(
    runs: Sequence[Run], folder: str | pathlib.Path
) -> list[pathlib.Path]:
    """Writes example images that no run saw in training, with different prompts.

    Only images of the toy set are used, because others may show anything.

    Args:
        runs: the runs on the page.
        folder: folder for the files.

    Returns:
        Their paths; none if no run was trained on the toy set.
    """
    if "toy" not in {run.config.data for run in runs}:
        return []
    # Drawing the whole set takes a minute, six images take a moment.
    drawn = _read() if toy_shards.is_written() else _draw()
    paths = []
    for number, image in enumerate(drawn, start=1):
        path = pathlib.Path(folder) / f"example-{number}.jpg"
        path.write_bytes(image)
        paths.append(path)
    return paths


def _read() -> list[bytes]:
    examples = Examples(data_folder.find_data("toy"), _SPLIT, with_targets=False)
    chosen: dict[str, bytes] = {}
    for batch in examples.batches(COUNT, "examples"):
        for prompt, image in zip(batch["prompt"], batch["image"], strict=True):
            chosen.setdefault(prompt, image)
        if len(chosen) >= COUNT:
            break
    return list(chosen.values())[:COUNT]


def _draw() -> list[bytes]:
    return [image for _, image in toy_shards.draw_examples(_SPLIT, COUNT)]
