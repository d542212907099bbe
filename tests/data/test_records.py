import dataclasses

import pytest
import tensorflow as tf

from tf_prompt.data import folder as data_folder
from tf_prompt.data import records, targets

RECORDS = [
    records.Record("a.png", b"\xff\xd8 one", "Château, 東京!", ["château", "東京"]),
    records.Record("b.png", b"\x00", "", []),
]


def write(path, items=RECORDS):
    with records.ShardWriter(path) as shard:
        for record in items:
            shard.write(record)
    return shard


def test_records_survive_a_shard(tmp_path):
    path = records.shard_path(tmp_path, "train", 3)
    assert path.name == "train-00003.tfrecord"
    assert write(path).num_records == 2
    dataset = tf.data.TFRecordDataset([str(path)]).map(records.parse)
    for record, read in zip(RECORDS, dataset.as_numpy_iterator(), strict=True):
        assert read["image"] == record.image
        assert read["image_id"].decode() == record.image_id
        assert read["prompt"].decode() == record.prompt
        assert [word.decode() for word in read["words"]] == record.words


def test_parse_agrees_eagerly():
    read = records.parse(records.serialise(RECORDS[0]))
    assert read["words"].shape == (2,)
    assert read["prompt"].numpy().decode() == RECORDS[0].prompt


def test_serialised_records_are_the_same_each_time():
    assert len({records.serialise(RECORDS[0]) for _ in range(5)}) == 1


@pytest.mark.parametrize("cut", [1, 30])
def test_truncated_shard_raises(tmp_path, cut):
    path = tmp_path / "train-00000.tfrecord"
    write(path)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(tf.errors.DataLossError):
        list(tf.data.TFRecordDataset([str(path)]))


def test_changed_byte_raises(tmp_path):
    path = tmp_path / "train-00000.tfrecord"
    write(path)
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    with pytest.raises(tf.errors.DataLossError):
        list(tf.data.TFRecordDataset([str(path)]))


def test_writer_shows_a_shard_only_when_it_is_whole(tmp_path):
    path = tmp_path / "train-00000.tfrecord"
    with records.ShardWriter(path) as shard:
        shard.write(RECORDS[0])
        assert not path.exists()
        assert not list(tmp_path.glob("*.tfrecord"))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_writer_leaves_nothing_after_an_exception(tmp_path):
    with pytest.raises(RuntimeError, match="stop"):
        with records.ShardWriter(tmp_path / "train-00000.tfrecord") as shard:
            shard.write(RECORDS[0])
            raise RuntimeError("stop")
    assert not list(tmp_path.iterdir())


def test_writer_keeps_the_old_shard_after_an_exception(tmp_path):
    path = tmp_path / "train-00000.tfrecord"
    write(path)
    before = path.read_bytes()
    with pytest.raises(RuntimeError):
        with records.ShardWriter(path):
            raise RuntimeError
    assert path.read_bytes() == before


def test_shards_are_listed_in_order(tmp_path):
    for index in (10, 2, 0):
        write(records.shard_path(tmp_path, "train", index))
    (tmp_path / "train-00001.tfrecord.7.part").touch()
    (tmp_path / "test-00000.tfrecord").touch()
    names = [path[-14:-9] for path in records.list_shards(tmp_path, "train")]
    assert names == ["00000", "00002", "00010"]


def test_absent_shards_say_how_to_write_them(tmp_path):
    with pytest.raises(FileNotFoundError, match="pipelines.write_records --output"):
        records.list_shards(tmp_path, "train")
    with pytest.raises(FileNotFoundError, match="missing"):
        records.list_shards(tmp_path / "missing", "train")


def test_images_are_said_to_become_shards_first(tmp_path):
    (tmp_path / "mine" / "sub").mkdir(parents=True)
    (tmp_path / "mine" / "sub" / "a.WEBP").touch()
    with pytest.raises(FileNotFoundError) as error:
        records.list_shards(tmp_path / "mine", "train")
    message = str(error.value)
    assert "a folder of images, which become shards first" in message
    assert "git clone https" in message and "\n" not in message
    assert f"pipelines.write_records --source {tmp_path}/mine --output" in message
    assert message.endswith("python -m tf_prompt.fit --data shards/")


def test_a_record_names_its_family_where_it_has_one():
    plain = records.Record("a.png", b"jpeg", "a cat", ["a", "cat"])
    in_family = dataclasses.replace(plain, family="0a1b")
    assert b"family" not in records.serialise(plain)
    example = tf.train.Example.FromString(records.serialise(in_family))
    assert example.features.feature["family"].bytes_list.value == [b"0a1b"]
    # Readers that ask for no family take both.
    parsed = [records.parse(records.serialise(r)) for r in (plain, in_family)]
    assert [p["prompt"].numpy() for p in parsed] == [b"a cat"] * 2


@pytest.mark.parametrize(
    "present, asked, help_text",
    [
        (["train", "test"], "validation", "train and test only.*--validation 0.2$"),
        (["train", "validation"], "test", "train and validation only.*--test 0.2$"),
        (["validation"], "train", "validation only.*--validation 0.05 --test 0.05$"),
    ],
)
def test_an_empty_split_is_named_with_the_flag_that_helps(
    tmp_path, present, asked, help_text
):
    for split in present:
        records.shard_path(tmp_path, split, 3).touch()
    assert records.list_splits(tmp_path) == present
    message = f"examples of {asked}: that split is empty. Received: .*{help_text}"
    with pytest.raises(FileNotFoundError, match=message) as error:
        records.list_shards(tmp_path, asked)
    assert "\n" not in str(error.value)


def test_headers_that_lead_past_the_end_are_refused(tmp_path):
    path = tmp_path / "train-00000.tfrecord"
    write(path)
    assert records.count_records(path) == 2
    whole = path.read_bytes()
    for content in (whole[:-1], whole + b"123", whole + b"\xff" * 8, b"\xff" * 20):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="whole records. Received: .*00000.tfrec"):
            records.count_records(path)
    path.write_bytes(b"")
    assert records.count_records(path) == 0


@pytest.mark.parametrize("content", [b"\xfa\xff no example", b"\n\x05", None])
def test_a_damaged_record_is_named_by_its_shard(tmp_path, content):
    """With the checksum right, TensorFlow quotes the record: not always UTF-8."""
    path = tmp_path / "train-00000.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(content or b"x")
    if content is None:
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="whole records.* Received: .*train-00000"):
        targets.read_prompts(str(path))
    if content is None:
        with pytest.raises(ValueError, match="whole records.* Received: .*train-00"):
            data_folder.count_words(tmp_path)
