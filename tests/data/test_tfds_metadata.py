import pytest
import tensorflow_datasets as tfds

from tests.conftest import SIZE, draw_record
from tf_prompt.data import records
from tf_prompt.data.split import SPLITS
from tf_prompt.data.tfds_metadata import write_tfds_metadata

# protobuf warns about a field that TFDS looks up while it reads dataset_info.json.
pytestmark = pytest.mark.filterwarnings("ignore:label\\(\\) is deprecated")


def read_ids(builder, split):
    dataset = tfds.as_numpy(builder.as_dataset(split=split))
    return sorted(example["image_id"].decode() for example in dataset)


def test_tfds_reads_shards_with_gaps(tmp_path):
    expected = {}
    lengths = {"train": [2, 0, 1], "validation": [0, 3, 0], "test": [0, 0, 0]}
    for split, of_split in lengths.items():
        expected[split] = []
        for index, length in enumerate(of_split):
            drawn = [draw_record("red", "top", 10 * index + n) for n in range(length)]
            expected[split] += [record.image_id for record in drawn]
            if not drawn:
                continue
            with records.ShardWriter(records.shard_path(tmp_path, split, index)) as w:
                for record in drawn:
                    w.write(record)
    (tmp_path / "part-00000.json").write_text("{}")
    write_tfds_metadata(tmp_path, "tiny", SIZE, lengths)
    builder = tfds.builder_from_directory(tmp_path)
    assert builder.info.name == "tiny"
    assert sorted(builder.info.splits) == ["train", "validation"]
    for split in builder.info.splits:
        assert builder.info.splits[split].num_examples == len(expected[split])
        assert read_ids(builder, split) == sorted(expected[split])
        assert len(read_ids(builder, f"{split}[1:2]")) == 1


def test_tfds_gives_the_fields_of_a_record(tmp_path, capfd):
    record = draw_record("blue", "left", 1)
    with records.ShardWriter(records.shard_path(tmp_path, "train", 0)) as shard:
        shard.write(record)
    write_tfds_metadata(tmp_path, "tiny", SIZE, {"train": [1]})
    assert capfd.readouterr().out == ""
    builder = tfds.builder_from_directory(tmp_path)
    (example,) = tfds.as_numpy(builder.as_dataset(split="train"))
    assert (
        example["image"].shape == (SIZE, SIZE, 3) and example["image"].dtype == "uint8"
    )
    assert example["prompt"].decode() == record.prompt
    assert [word.decode() for word in example["words"]] == record.words


def test_tfds_metadata_is_the_same_each_time(tmp_path):
    written = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        for split in SPLITS:
            with records.ShardWriter(records.shard_path(folder, split, 0)) as shard:
                shard.write(draw_record("red", "top", 1))
        write_tfds_metadata(folder, "tiny", SIZE, dict.fromkeys(SPLITS, [1]))
        written.append({p.name: p.read_bytes() for p in folder.glob("*.json")})
    assert written[0] == written[1] and len(written[0]) == 2
