"""Embeddings of prompts beside their shards, with an embedder made of letters."""

import pathlib

import numpy as np
import pytest

from tests.conftest import draw_record
from tf_prompt.data import cluster, embedding_batches, records, targets
from tf_prompt.data.reading import Reading
from tf_prompt.metrics import prompt_embedder


class LetterNetwork:
    """Embeds a text by its first letters; counts the texts that it was given."""

    def __init__(self):
        self.num_texts = 0

    def predict_on_batch(self, inputs):
        codes = inputs["codes"]
        self.num_texts += len(codes)
        vectors = np.zeros((len(codes), 384), np.float32)
        vectors[:, : codes.shape[1]] = codes
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def read_letters(texts):
    codes = np.array([[*map(ord, text.ljust(12)[:12])] for text in texts])
    return {"codes": codes, "padding_mask": np.ones_like(codes)}


@pytest.fixture
def embedder():
    return prompt_embedder.PromptEmbedder(read_letters, LetterNetwork(), "letters")


@pytest.fixture
def shards(tmp_path):
    """Two training shards of three images, the colours differ."""
    for index, colours in enumerate((["red", "red", "blue"], ["green", "blue", "red"])):
        path = records.shard_path(tmp_path, "train", index)
        with records.ShardWriter(path) as shard:
            for number, colour in enumerate(colours):
                shard.write(draw_record(colour, "left", number))
    return tmp_path


def read(paths, folder, prompt_ids=None, **overrides):
    arguments = {
        "image_size": 32,
        "batch_size": 2,
        "seed": 0,
        "epochs": range(0, 1),
        "shuffle_buffer": 10,
        **overrides,
    }
    reading = Reading(folder=folder, **arguments)
    return embedding_batches.training_batches(reading, paths, prompt_ids)


def test_targets_stand_in_the_order_of_the_shard(shards, embedder):
    paths = targets.target_shards(shards, "train", embedder=embedder)
    assert targets.count_targets(paths) == 6
    reading = Reading(folder=shards, image_size=32, batch_size=6)
    (batch,) = embedding_batches.split_batches(reading, "train", paths)
    prompts = [f"A {c} patch, left!" for c in "red red blue green blue red".split()]
    np.testing.assert_array_equal(batch[1], prompt_embedder.embed(prompts, embedder))
    # The picture of a red patch is red.
    assert np.asarray(batch[0])[0, 0, 0].argmax() == 0


def test_words_are_another_text_than_the_prompt(shards, embedder):
    prompt = targets.target_shards(shards, "train", "prompt", embedder)
    words = targets.target_shards(shards, "train", "words", embedder)
    assert set(prompt).isdisjoint(words)
    assert targets.read_prompts(records.list_shards(shards, "train")[0], "words") == [
        "a red patch left",
        "a red patch left",
        "a blue patch left",
    ]


def test_nothing_is_embedded_twice(shards, embedder):
    first = targets.target_shards(shards, "train", embedder=embedder)
    done = embedder.network.num_texts
    assert targets.target_shards(shards, "train", embedder=embedder) == first
    assert embedder.network.num_texts == done
    # One shard is gone, and one has changed.
    (shards / "embeddings").joinpath(*first[0].split("/")[-2:]).unlink()
    with records.ShardWriter(records.shard_path(shards, "train", 1)) as shard:
        shard.write(draw_record("bright white", "left", 0))
    targets.target_shards(shards, "train", embedder=embedder)
    # Two colours of the first shard, one of the second.
    assert embedder.network.num_texts == done + 3
    assert targets.count_targets(first) == 4


def test_pictures_keep_their_own_targets_when_shuffled(shards, embedder):
    paths = targets.target_shards(shards, "train", embedder=embedder)
    expected = {
        colour: prompt_embedder.embed([f"A {colour} patch, left!"], embedder)[0]
        for colour in ("red", "green", "blue")
    }
    seen = 0
    for pictures, vectors in read(paths, shards, epochs=range(0, 3)):
        for picture, vector in zip(pictures.numpy(), vectors.numpy(), strict=True):
            colour = ["red", "green", "blue"][picture[16, 4].argmax()]
            np.testing.assert_allclose(vector, expected[colour], atol=1e-6)
            seen += 1
    assert seen == 18


def test_order_depends_on_seed_and_epoch_alone(shards, embedder):
    paths = targets.target_shards(shards, "train", embedder=embedder)
    orders = [
        np.concatenate([v for _, v in read(paths, shards, epochs=range(a, a + 1))])
        for a in (0, 1, 0)
    ]
    both = np.concatenate([v for _, v in read(paths, shards, epochs=range(0, 2))])
    np.testing.assert_array_equal(orders[0], orders[2])
    np.testing.assert_array_equal(both, np.concatenate(orders[:2]))
    assert not np.array_equal(orders[0], orders[1])


@pytest.mark.slow
def test_one_image_of_each_prompt_an_epoch(shards, embedder):
    paths = targets.target_shards(shards, "train", embedder=embedder)
    numbers = embedding_batches.number_prompts(shards)
    assert len(set(numbers)) == 3
    assert numbers[0] == numbers[1] == numbers[5] != numbers[2]
    arguments = {"prompt_ids": numbers, "batch_size": 3}
    chosen = set()
    for epoch in range(5):
        epochs = range(epoch, epoch + 1)
        ((pictures, vectors),) = read(paths, shards, epochs=epochs, **arguments)
        assert len(np.unique(vectors, axis=0)) == 3
        order = np.concatenate(
            [v for _, v in read(paths, shards, epochs=epochs, **arguments)]
        )
        np.testing.assert_array_equal(order, vectors)
        chosen.add(pictures.numpy().tobytes())
    assert len(chosen) > 1


def test_unknown_rule(shards):
    with pytest.raises(ValueError, match="text_rule must be one of prompt, words"):
        targets.target_shards(shards, "train", "letters")


def test_killed_writer_leaves_no_half_file(shards, embedder, monkeypatch):
    def die(texts, embedder):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prompt_embedder, "embed", die)
        with pytest.raises(KeyboardInterrupt):
            targets.target_shards(shards, "train", embedder=embedder)
    assert not [p for p in shards.rglob("*.part") if p.is_file()]
    assert (
        targets.count_targets(targets.target_shards(shards, "train", embedder=embedder))
        == 6
    )


def test_true_prompts_of_the_competition(real_data, minilm):
    """The targets are the numbers that Kaggle published for its own prompts."""
    import pandas

    truth = pandas.read_csv(real_data / "kaggle" / "prompts.csv")
    sample = pandas.read_csv(real_data / "kaggle" / "sample_submission.csv")
    vectors = prompt_embedder.embed(truth["prompt"].tolist(), minilm)
    by_id = sample.set_index("imgId_eId")["val"]
    for image_id, vector in zip(truth["imgId"], vectors, strict=True):
        published = by_id[[f"{image_id}_{e}" for e in range(384)]]
        np.testing.assert_allclose(vector, published, atol=1e-3)


def test_a_cluster_computes_the_same_targets(
    shards, embedder, monkeypatch, cluster_address
):
    (paths, here) = zip(
        *(
            (path, pathlib.Path(path).read_bytes())
            for path in targets.target_shards(shards, "train", embedder=embedder)
        ),
        strict=True,
    )
    for path in paths:
        pathlib.Path(path).unlink()
    monkeypatch.setenv(cluster.VARIABLE, cluster_address)
    monkeypatch.setattr(targets, "_load_once", lambda: embedder)
    assert targets.target_shards(shards, "train", embedder=embedder) == list(paths)
    assert tuple(pathlib.Path(path).read_bytes() for path in paths) == here
    # A worker with another model would mix its vectors with ours.
    other = prompt_embedder.PromptEmbedder(read_letters, LetterNetwork(), "other")
    monkeypatch.setattr(targets, "_load_once", lambda: other)
    pathlib.Path(paths[0]).unlink()
    with pytest.raises(ValueError, match="workers must have the embedder"):
        targets.target_shards(shards, "train", embedder=embedder)
