"""The toy set as files: reproducible bytes, clean splits, a cache written once."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tf_prompt.data import images, records, split, text
from tf_prompt.data.toy import grammar, workers
from tf_prompt.data.toy import shards as toy_shards

SMALL = {"num_prompts": 60, "image_size": 32}


def read(folder, name):
    shards = records.list_shards(folder, name)
    return [
        {key: value.numpy() for key, value in records.parse(serialised).items()}
        for serialised in tf.data.TFRecordDataset(shards)
    ]


def contents(folder):
    return {path.name: path.read_bytes() for path in pathlib.Path(folder).iterdir()}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    toy_shards.write_toy(folder, **SMALL)
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TF_PROMPT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_equal_arguments_give_equal_bytes(small, tmp_path):
    toy_shards.write_toy(tmp_path, **SMALL)
    assert contents(tmp_path) == contents(small)
    toy_shards.write_toy(tmp_path, **SMALL, seed=1)
    assert contents(tmp_path) != contents(small)


def test_every_prompt_is_there_once_in_its_split(small):
    prompts = []
    for name in split.SPLITS:
        for example in read(small, name):
            words = [word.decode() for word in example["words"]]
            assert words == text.split_words(example["prompt"].decode())
            assert split.split_of(words) == name
            assert tf.io.decode_jpeg(example["image"]).shape == (32, 32, 3)
            prompts.append(example["prompt"].decode())
    written = [prompt for _, prompt in grammar.draw_prompts(60, 0)]
    assert sorted(prompts) == sorted(written)


def test_stats_count_the_examples(small):
    stats = json.loads((small / "stats.json").read_text())
    counts = {name: len(read(small, name)) for name in split.SPLITS}
    assert stats["examples"] == counts and sum(counts.values()) == 60
    assert stats["num_prompts"] == 60 and stats["image_size"] == 32


def test_the_folder_holds_one_shard_a_part_and_split(small):
    names = {path.name for path in small.iterdir()}
    shards = {
        records.shard_path(small, name, part).name
        for name in split.SPLITS
        for part in range(toy_shards.NUM_PARTS)
    }
    assert names == shards | {"stats.json"}


def test_workers_draw_the_same_pictures(monkeypatch):
    alone = list(workers.draw_images(120, 16, 0))
    monkeypatch.setattr(workers, "_MIN_PARALLEL", 1)
    monkeypatch.setattr(workers.os, "cpu_count", lambda: 2)
    assert list(workers.draw_images(120, 16, 0)) == alone


def test_a_worker_that_dies_is_an_error(monkeypatch):
    monkeypatch.setattr(workers, "_MIN_PARALLEL", 1)
    monkeypatch.setattr(workers.sys, "executable", "false")
    with pytest.raises(RuntimeError, match="ended early"):
        list(workers.draw_images(120, 16, 0))


def test_the_cache_is_written_once(cache, monkeypatch):
    folder = toy_shards.toy_folder(**SMALL)
    assert folder.parent == cache and (folder / "stats.json").is_file()
    monkeypatch.setattr(toy_shards, "write_toy", None)
    assert toy_shards.toy_folder(**SMALL) == folder


def test_other_settings_have_another_folder(cache, monkeypatch):
    folders = {toy_shards.toy_folder(**SMALL), toy_shards.toy_folder(**SMALL, seed=1)}
    monkeypatch.setattr(toy_shards, "TOY_VERSION", -1)
    folders.add(toy_shards.toy_folder(**SMALL))
    assert len(folders) == 3


def test_an_interrupted_write_leaves_no_folder(cache, monkeypatch):
    def stop(image):
        raise KeyboardInterrupt

    monkeypatch.setattr(toy_shards.images, "encode_jpeg", stop)
    with pytest.raises(KeyboardInterrupt):
        toy_shards.toy_folder(**SMALL)
    assert list(cache.iterdir()) == []


def test_the_loser_of_a_race_takes_the_winners_folder(cache, monkeypatch):
    write = toy_shards.write_toy

    def write_second(*args):
        monkeypatch.setattr(toy_shards, "write_toy", write)
        winner.append(toy_shards.toy_folder(**SMALL))
        return write(*args)

    winner = []
    monkeypatch.setattr(toy_shards, "write_toy", write_second)
    assert toy_shards.toy_folder(**SMALL) == winner[0]
    assert list(cache.iterdir()) == winner


def test_examples_are_those_of_the_set(small):
    """Prompts and pictures of a split, without the rest of the set."""
    for name in split.SPLITS:
        listed = toy_shards.list_prompts(name, num_prompts=60)
        written = {e["prompt"].decode(): e["image"] for e in read(small, name)}
        assert [prompt for *_, prompt in listed] == sorted(
            written, key=[prompt for *_, prompt in listed].index
        )
    first = toy_shards.list_prompts("train", 3, num_prompts=60)
    assert first == toy_shards.list_prompts("train", num_prompts=60)[:3]
    pictures = workers.draw_images(60, toy_shards.IMAGE_SIZE, 0)
    drawn = dict(enumerate(pictures))
    examples = toy_shards.draw_examples("train", 3)
    for (index, _, prompt), (drawn_for, image) in zip(first, examples, strict=True):
        assert prompt == drawn_for
        size = toy_shards.IMAGE_SIZE
        pixels = np.frombuffer(drawn[index], np.uint8).reshape(size, size, 3)
        assert image == images.encode_jpeg(pixels)


def test_it_is_known_whether_the_set_is_there(cache, monkeypatch):
    assert not toy_shards.is_written()
    monkeypatch.setattr(toy_shards, "NUM_PROMPTS", 20)
    monkeypatch.setattr(toy_shards, "IMAGE_SIZE", 16)
    toy_shards.toy_folder(20, 16)
    assert toy_shards.is_written()


@pytest.mark.parametrize("name", ["num_prompts", "image_size"])
def test_numbers_must_be_positive(name, tmp_path):
    with pytest.raises(ValueError, match=f"{name} must be positive. Received: 0"):
        toy_shards.write_toy(tmp_path, **{**SMALL, name: 0})


def test_drawing_needs_no_tensorflow():
    code = (
        "import sys, tf_prompt.data.toy.workers; sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
