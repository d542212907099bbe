"""The features of a training split, streamed to a file and searched."""

import hashlib
import json
import pathlib

import numpy as np

from tf_prompt.data import folder as data_folder
from tf_prompt.data.embedding_batches import Examples
from tf_prompt.data.vectors import map_array, unit_rows
from tf_prompt.files import replacing
from tf_prompt.inference.model import PromptModel
from tf_prompt.inference.neighbour_index import FeatureIndex
from tf_prompt.runs.run import Run


def open_features(
    model: PromptModel,
    run: Run,
    folder: pathlib.Path,
    limit: int | None = None,
    batch_size: int = 64,
) -> FeatureIndex:
    """Opens an index of the training images, in the order of the shards.

    Features are computed once and stored in the run's folder, float16 of unit length.
    They are written batch by batch, so that memory holds one batch.

    Args:
        model: the run's model, which computes the features.
        run: the run, in whose folder they are stored.
        folder: folder of shards.
        limit: largest number of training images; None takes all.
        batch_size: number of images per batch.

    Raises:
        FileNotFoundError: if there is no training split.
    """
    path = run.path / f"features-{_digest(run, folder, limit)}.npy"
    examples = Examples(folder, "train", limit, with_targets=False)
    if not path.is_file():
        _write(model, examples, path, batch_size)
    return FeatureIndex(map_array(path))


def _write(model, examples, path, batch_size) -> None:
    rows, start = None, 0
    with replacing(path) as temporary:
        for images in examples.pixels(model.sizes, batch_size, "features of train"):
            found = unit_rows(model.features(images).numpy())
            if rows is None:
                shape = examples.num_examples, found.shape[1]
                rows = np.lib.format.open_memmap(temporary, "w+", np.float16, shape)
            rows[start : start + len(found)] = found
            start += len(found)
        rows.flush()


def _digest(run, folder, limit) -> str:
    """Hash of the model's file and the data, on which the features depend."""
    stat, data = run.model_stat, data_folder.fingerprint(folder)["train"]
    identity = json.dumps([stat.st_mtime_ns, stat.st_size, data, limit])
    return hashlib.blake2b(identity.encode(), digest_size=6).hexdigest()
