import shutil

import pytest
import tensorflow_datasets as tfds

# TFDS 4.9.10 imports both without requiring them.
pytest.importorskip("importlib_resources")
pytest.importorskip("dill")

from pipelines import convert, write_records  # noqa: E402
from pipelines.convert import LostRow  # noqa: E402
from pipelines.diffusiondb import diffusiondb_dataset_builder as module  # noqa: E402
from tests.pipelines.conftest import encode, make_row, write_source  # noqa: E402
from tf_prompt.data.split import split_of  # noqa: E402
from tf_prompt.data.text import split_words  # noqa: E402

# protobuf warns about a field that TFDS looks up while it reads dataset_info.json.
pytestmark = pytest.mark.filterwarnings("ignore:label\\(\\) is deprecated")

DUMMY_DATA = module.Builder.code_path.parent / "dummy_data"
SPLITS = {"train": 4, "validation": 3, "test": 1}


class Test2M(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = module.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["2m"]
    EXAMPLE_DIR = DUMMY_DATA / "2m"
    SPLITS = SPLITS


class TestLarge(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = module.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["large"]
    EXAMPLE_DIR = DUMMY_DATA / "large"
    SPLITS = SPLITS


def build(source, folder, config="2m"):
    """Builds the data set as `tfds build --manual_dir` does."""
    builder = module.Builder(data_dir=folder, config=config)
    settings = tfds.download.DownloadConfig(manual_dir=source)
    builder.download_and_prepare(download_config=settings)
    return builder


def read(builder):
    """Every example of every split, by name of its image."""
    return {
        split: {
            example["image_id"]: (
                example["image"].tobytes(),
                example["prompt"],
                list(example["words"]),
            )
            for example in tfds.as_numpy(builder.as_dataset(split=split))
        }
        for split in builder.info.splits
    }


@pytest.mark.parametrize("with_metadata", [True, False])
def test_examples_are_those_of_write_records(tmp_path, with_metadata):
    source, shards = tmp_path / "source", tmp_path / "shards"
    shutil.copytree(DUMMY_DATA / "2m", source)
    if not with_metadata:
        (source / "metadata.parquet").unlink()
    flags = ["--source", str(source), "--output", str(shards), "--processes", "1"]
    assert write_records.main(flags) == 0
    written = tfds.builder_from_directory(shards)
    built = build(source, tmp_path / "built")
    assert built.info.features.to_json() == written.info.features.to_json()
    assert built.info.name == "diffusiondb"
    assert read(built) == read(written)


def test_no_image_is_decoded_twice(tmp_path, monkeypatch):
    decoded = []
    reencode = convert._reencode

    def count(data, conversion):
        decoded.append(data)
        return reencode(data, conversion)

    monkeypatch.setattr(convert, "_reencode", count)
    build(DUMMY_DATA / "2m", tmp_path)
    assert len(decoded) == len(set(decoded)) == sum(SPLITS.values())


def test_the_other_layout_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must hold DiffusionDB large"):
        build(DUMMY_DATA / "2m", tmp_path, "large")


def test_a_broken_part_fails_the_build(tmp_path):
    source = tmp_path / "source"
    shutil.copytree(DUMMY_DATA / "2m", source)
    (source / "images" / "part-000002.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match="must be whole.*part-000002.zip"):
        build(source, tmp_path / "built")


def test_many_rejected_rows_fail_the_build(tmp_path, monkeypatch):
    def reject(data, conversion):
        raise LostRow("undecodable_image")

    monkeypatch.setattr(convert, "_reencode", reject)
    with pytest.raises(ValueError, match="rejected .* undecodable_image"):
        build(DUMMY_DATA / "2m", tmp_path)


def test_a_small_split_is_not_judged_alone(tmp_path):
    prompts = [f"a {'x' * length}" for length in range(1, 41)]
    rows = [make_row(f"{i}.png", prompt) for i, prompt in enumerate(prompts)]
    members = {row["image_name"]: encode() for row in rows}
    test = [r for r in rows if split_of(split_words(r["prompt"])) == "test"]
    assert 0 < len(test) < 20  # one of these is more than 5 %
    members[test[0]["image_name"]] = b"broken"
    source = write_source(tmp_path / "source", rows, members)
    built = build(source, tmp_path / "built")
    assert sum(split.num_examples for split in built.info.splits.values()) == 39
