"""TFDS metadata for a folder of shards, so that TFDS can read it."""

import pathlib
from collections.abc import Mapping, Sequence

import tensorflow_datasets as tfds

from tf_prompt.data.records import shard_path

# `records.SHARD_NAME` in TFDS's notation, without its "{FILEFORMAT}", which would
# match the folder's JSON files as well.
_SHARD_TEMPLATE = "{SPLIT}-{SHARD_INDEX}.tfrecord"


def build_features(image_size: int, labels: Sequence[str] = ()) -> dict:
    """Describes a record to TFDS.

    Args:
        image_size: side of the images in pixels.
        labels: those of `records.LABELS` that records hold.

    Returns:
        dict from field to TFDS feature.
    """
    shape = (image_size, image_size, 3)
    features = {
        "image": tfds.features.Image(shape=shape, encoding_format="jpeg"),
        "image_id": tfds.features.Text(),
        "prompt": tfds.features.Text(),
        "words": tfds.features.Sequence(tfds.features.Text()),
    }
    return {**features, **{name: tfds.features.Text() for name in labels}}


def write_tfds_metadata(
    folder: str | pathlib.Path,
    name: str,
    image_size: int,
    shard_lengths: Mapping[str, Sequence[int]],
    labels: Sequence[str] = (),
) -> None:
    """Writes the files with which `tfds.builder_from_directory` reads the shards.

    Args:
        folder: the shards, named by `records.shard_path`.
        name: the data set's name; letters, digits and underscores.
        image_size: side of the stored images, pixels.
        shard_lengths: dict from split to the number of records of each shard, in
            order of shard index; 0 for a shard that was not written. Splits without
            records are left out.
        labels: as in `build_features`.
    """
    template = tfds.core.ShardedFileTemplate(
        data_dir=folder,
        template=_SHARD_TEMPLATE,
        dataset_name=name,
        filetype_suffix="tfrecord",
    )
    splits = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=list(lengths),
            num_bytes=_num_bytes(folder, split, lengths),
            filename_template=template,
        )
        for split, lengths in shard_lengths.items()
        if sum(lengths)
    ]
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=build_features(image_size, labels),
        split_infos=splits,
        filename_template=template,
        check_data=False,
        description="Images of a text-to-image model, with their prompts.",
    )


def _num_bytes(folder: str | pathlib.Path, split: str, lengths: Sequence[int]) -> int:
    written = [index for index, length in enumerate(lengths) if length]
    return sum(shard_path(folder, split, index).stat().st_size for index in written)
