import numpy as np
import pytest
from nltk.translate import bleu_score

from tests.metrics.prompts import PREDICTIONS, REFERENCES
from tf_prompt.metrics import bleu


def random_prompts(generator, count):
    words = np.array(["a", "b", "c", "d", "e"])
    lengths = generator.integers(0, 12, size=count)
    return [" ".join(generator.choice(words, size=n)) for n in lengths]


# NLTK warns of a length without matches; its score is then 0, as ours.
@pytest.mark.filterwarnings("ignore:\\s*The hypothesis contains 0 counts:UserWarning")
@pytest.mark.parametrize("max_n", [1, 2, 3, 4])
def test_corpus_bleu_equals_nltk(max_n):
    generator = np.random.default_rng(0)
    for _ in range(20):
        references = random_prompts(generator, 30)
        predictions = random_prompts(generator, 30)
        expected = bleu_score.corpus_bleu(
            [[reference.split()] for reference in references],
            [prediction.split() for prediction in predictions],
            weights=(1 / max_n,) * max_n,
        )
        found = bleu.corpus_bleu(references, predictions, max_n)
        assert found == pytest.approx(100 * expected, abs=1e-9)


@pytest.mark.parametrize(
    "max_n, expected",
    [
        (1, 61.170605659179294),
        (2, 52.12138580839547),
        (3, 42.055979208410456),
        (4, 34.848891720791194),
    ],
)
def test_corpus_bleu_equals_sacrebleu_2_6_0(max_n, expected):
    # BLEU(tokenize="none", smooth_method="none", max_ngram_order=max_n)
    found = bleu.corpus_bleu(REFERENCES, PREDICTIONS, max_n)
    assert found == pytest.approx(expected, abs=1e-9)


def test_matches_are_clipped_as_in_the_paper():
    # Papineni et al., 2002, section 2.1: 2 of 7 unigrams, no bigram.
    row = bleu.count_matches(["the cat is on the mat"], ["the the the the the the the"])
    np.testing.assert_array_equal(row, [[2, 0, 0, 0, 7, 6, 5, 4, 7, 6]])


def test_brevity_penalty_by_hand():
    # All 4 unigrams match, 5 words are missing: exp(1 - 9 / 4).
    found = bleu.corpus_bleu(["a b c d e f g h i"], ["a b c d"], max_n=1)
    assert found == pytest.approx(100 * np.exp(1 - 9 / 4))


def test_true_prompts_score_100_and_empty_ones_0():
    assert bleu.corpus_bleu(REFERENCES[:3], REFERENCES[:3]) == pytest.approx(100)
    assert bleu.corpus_bleu(REFERENCES, [""] * 6) == 0
    assert bleu.corpus_bleu([""], [""]) == 0


def test_a_short_true_prompt_lowers_the_score_as_in_nltk():
    # Of "a cat" and "a b c d e", 3-grams: 3 of 3 + 1; 4-grams: 2 of 2 + 1.
    prompts = ["a cat", "a b c d e"]
    expected = 100 * (3 / 4 * 2 / 3) ** (1 / 4)
    assert bleu.corpus_bleu(prompts, prompts) == pytest.approx(expected)


def test_score_sums_scores_many_sums_at_once():
    counts = bleu.count_matches(REFERENCES, PREDICTIONS)
    sums = np.stack([counts[:3].sum(axis=0), counts[3:].sum(axis=0)])
    expected = [
        bleu.corpus_bleu(REFERENCES[:3], PREDICTIONS[:3]),
        bleu.corpus_bleu(REFERENCES[3:], PREDICTIONS[3:]),
    ]
    np.testing.assert_allclose(bleu.score_sums(sums), expected)


def test_max_n_out_of_range_is_refused():
    with pytest.raises(ValueError, match="max_n must be 1 to 4. Received: 5"):
        bleu.corpus_bleu(["a"], ["a"], max_n=5)


def test_signature_names_all_options():
    assert bleu.signature().endswith("|corpus_bleu|n:4|smooth:none|tok:split")
