"""Pictures of the toy set for visitors who have none at hand."""

import pathlib
from collections.abc import Sequence

import tensorflow as tf

from tf_prompt.data import folder as data_folder
from tf_prompt.data import records
from tf_prompt.runs import folder as run_folder

COUNT = 6
_SPLIT = "test"


def write_examples(
    run_dirs: Sequence[str], folder: str | pathlib.Path
) -> list[pathlib.Path]:
    """Writes pictures that no run saw in training, each of another prompt.

    Only those of the toy set: of other data nobody knows what they show.

    Args:
        run_dirs: folders of runs.
        folder: where the files go.

    Returns:
        Their paths; none if no run is of the toy set.
    """
    data = {run_folder.read_config(run_dir).data for run_dir in run_dirs}
    if "toy" not in data:
        return []
    shards = records.list_shards(data_folder.find_data("toy"), _SPLIT)
    chosen: dict[bytes, bytes] = {}
    for record in tf.data.TFRecordDataset(shards).map(records.parse):
        chosen.setdefault(record["prompt"].numpy(), record["image"].numpy())
        if len(chosen) == COUNT:
            break
    paths = []
    for number, image in enumerate(chosen.values(), start=1):
        path = pathlib.Path(folder) / f"example-{number}.jpg"
        path.write_bytes(image)
        paths.append(path)
    return paths
