"""DiffusionDB as a data set of TensorFlow Datasets, with the records of `convert`."""

import dataclasses
import io
import pathlib
import sys
from collections.abc import Iterator

import tensorflow_datasets as tfds

# `tfds build` imports only this file, from any folder.
sys.path.append(str(pathlib.Path(__file__).parents[2]))

from pipelines.convert import read_records  # noqa: E402
from pipelines.options import (
    Conversion,  # noqa: E402
    WriteOptions,  # noqa: E402
)
from pipelines.parts import (
    Part,  # noqa: E402
    Source,  # noqa: E402
)
from pipelines.sources import open_source  # noqa: E402
from pipelines.tally import Tally  # noqa: E402
from tf_prompt.data.split import (
    SPLITS,  # noqa: E402
    split_of,  # noqa: E402
)
from tf_prompt.data.text import split_words  # noqa: E402
from tf_prompt.data.tfds_metadata import build_features  # noqa: E402


class Builder(tfds.core.GeneratorBasedBuilder):
    """Square images that no filter drops, each with its prompt, in three splits."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(
            name="2m", description="DiffusionDB 2M: 2 million PNG images."
        ),
        tfds.core.BuilderConfig(
            name="large", description="DiffusionDB Large: 14 million WebP images."
        ),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    `manual_dir` must be a folder in DiffusionDB's layout, with its metadata. From a
    checkout of tf_prompt, for the configuration 2m, or for large with `--large`:

    python -m pipelines.download --parts 1-3 --output DIR
    """

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                build_features(Conversion().image_size)
            ),
            supervised_keys=("image", "prompt"),
            homepage="https://poloclub.github.io/diffusiondb",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        source = open_source(dl_manager.manual_dir)
        if source.name != f"diffusiondb_{self.builder_config.name}":
            raise ValueError(
                f"manual_dir must hold DiffusionDB {self.builder_config.name}. "
                f"Received: {dl_manager.manual_dir} with {source.name}"
            )
        # One tally for all splits, because a single one can be too small to be judged.
        # TFDS takes the splits in this order, the largest first.
        tally = Tally()
        return {
            split: self._generate_examples(source, split, tally) for split in SPLITS
        }

    def _generate_examples(
        self, source: Source, split: str, tally: Tally
    ) -> Iterator[tuple[str, dict]]:
        for part in source.parts():
            part = select_split(part, split)
            for found, record in read_records(part, Conversion(), tally):
                if found == split:
                    example = dataclasses.asdict(record)
                    del example["family"], example["source"]
                    example["image"] = io.BytesIO(record.image)
                    yield f"{part.name}/{record.image_id}", example
            if tally.rejected["unreadable_part"]:
                raise ValueError(f"every part must be whole. Received: {part.name}")
        _judge(tally)


def select_split(part: Part, split: str) -> Part:
    """Leaves out the rows of other splits, so that no image is decoded three times.

    Args:
        part: a part of the source.
        split: one of `split.SPLITS`.
    """
    if part.rows is None:
        return part
    wanted = [split_of(split_words(prompt)) == split for prompt in part.rows["prompt"]]
    return dataclasses.replace(part, rows=part.rows[wanted])


def _judge(tally: Tally) -> None:
    # Images whose rows `select_split` left out look as if they had no row.
    del tally.rejected["no_metadata_row"]
    tally.rejected_examples.pop("no_metadata_row", None)
    if tally.reject_rate > WriteOptions.max_reject_rate:
        raise ValueError(
            f"rejected {tally.reject_rate:.1%} of the rows, more than "
            f"{WriteOptions.max_reject_rate:.1%}: {tally.first_rejections}"
        )
