"""Endings: prompts that no training image has, from parts that some have."""

import numpy as np
import pytest
import tensorflow as tf

from tf_prompt.data.images import encode_jpeg
from tf_prompt.inference.endings import Endings, cut
from tf_prompt.inference.retrieval import RetrievalIndex, RetrievalModel
from tf_prompt.models.retriever import Retriever
from tf_prompt.training.ending_vectors import fit_endings

SUBJECTS, ARTISTS = ["a dog", "a house"], ["monet", "claude lorrain", "moebius"]


@pytest.fixture(scope="module")
def pairs():
    """Features of both parts in other directions, of 12 images a pair; a pair lacks."""
    random = np.random.default_rng(0)
    basis = np.eye(16, dtype=np.float32)
    features, prompts = [], []
    for i, subject in enumerate(SUBJECTS):
        for j, artist in enumerate(ARTISTS):
            if (subject, artist) != ("a dog", "moebius"):
                noise = random.normal(0, 0.02, (12, 16))
                features += list(3 * basis[i] + basis[4 + j] + noise)
                prompts += [f"{subject} by {artist}"] * 12
    sought = 3 * basis[0] + basis[6]
    return np.array(features, np.float32), prompts, sought / np.linalg.norm(sought)


def build_model(features, prompts, endings, separator="by"):
    network = Retriever(
        "conv", 32, conv_filters=(8, 16), text_dim=4, separator=separator
    )
    network.text_weight = 0.0
    network.text_proj.set_weights([np.zeros((16, 4)), np.zeros(4)])
    rows = features / np.linalg.norm(features, axis=1, keepdims=True)
    rows = np.concatenate([rows, np.zeros((len(rows), 4))], axis=1).astype(np.float16)
    return RetrievalModel(network, RetrievalIndex(rows, prompts, endings), "retrieval")


def write(model, feature):
    prompts, scores = model.weigh(tf.constant(feature[None]))
    return prompts[0, int(tf.argmax(scores[0]))].numpy().decode()


def test_a_prompt_is_cut_after_its_first_separator():
    assert cut("a dog by monet by night", "by") == ("a dog by", "monet by night")
    assert cut("a dog", "by") == ("a dog", "")
    assert cut("by monet", "by") == ("by monet", "")
    assert cut("a ruby ring", "by") == ("a ruby ring", "")


def test_a_pair_that_training_does_not_hold_is_written(pairs):
    features, prompts, sought = pairs
    endings = fit_endings(features, prompts, "by")
    assert write(build_model(features, prompts, endings), sought) == "a dog by moebius"
    whole = build_model(features, prompts, None, separator="")
    assert write(whole, sought) in prompts


def test_its_graph_takes_encoded_images(pairs):
    features, prompts, _ = pairs
    model = build_model(features, prompts, fit_endings(features, prompts, "by"))
    image = encode_jpeg(np.zeros((32, 32, 3), np.uint8))
    found = model([image, b"broken", image])["prompt"]
    assert found[1] == b"" and found[0] == found[2]
    subject, artist = found[0].decode().split(" by ")
    assert subject in SUBJECTS and artist in ARTISTS
    best = model.write_best([image], 2)[0]
    assert best[0][0] == found[0].decode() and len(best) == 2


def test_a_prompt_without_the_separator_is_left_whole(pairs):
    features, prompts, _ = pairs
    alone = -np.ones((12, 16), np.float32)
    features, prompts = np.concatenate([features, alone]), [*prompts, *["a lake"] * 12]
    model = build_model(features, prompts, fit_endings(features, prompts, "by"))
    assert write(model, alone[0] / 4) == "a lake"


def test_a_rare_beginning_is_compared_with_all_images(pairs):
    features, prompts, _ = pairs
    features, prompts = np.vstack([features, features[:1]]), [*prompts, "x by monet"]
    endings = fit_endings(features, prompts, "by")
    assert endings.beginnings == ["a house by", "a dog by"]
    assert endings.number(["x by", "a dog by"]) == [2, 1]
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(endings.means[2], unit.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(endings.means[1], unit[:24].mean(axis=0), atol=1e-6)


def test_one_image_of_each_ending_is_enough():
    features = np.eye(4, dtype=np.float32)
    endings = fit_endings(features, [f"a dog by {c}" for c in "abcd"], "by")
    assert np.isfinite(endings.rows).all()
    assert (endings.rows @ (features - endings.means[-1]).T).argmax(0).tolist() == [
        *range(4)
    ]


def test_there_are_no_endings_without_the_separator():
    assert fit_endings(np.eye(2), ["a dog", "a cat"], "by") is None


def test_endings_are_saved_with_the_index(pairs, tmp_path):
    features, prompts, _ = pairs
    endings = fit_endings(features, prompts, "by")
    RetrievalIndex(features.astype(np.float16), prompts, endings).save(tmp_path)
    found = RetrievalIndex.load(tmp_path).endings
    assert found.texts == endings.texts and found.beginnings == endings.beginnings
    np.testing.assert_array_equal(found.rows, endings.rows)
    path = tmp_path / "retrieval" / "endings.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="whole file of endings"):
        Endings.load(path)


def test_a_separator_needs_endings(pairs):
    with pytest.raises(ValueError, match="must hold endings"):
        build_model(*pairs[:2], None)
