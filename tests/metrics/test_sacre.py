import pytest

from tests.metrics.prompts import PREDICTIONS, REFERENCES
from tf_prompt.metrics import sacre


def test_equals_sacrebleu():
    """sacrebleu 2.6.0: corpus_bleu(PREDICTIONS, [REFERENCES]).score."""
    counts = sacre.count_matches(REFERENCES, PREDICTIONS)
    assert counts.shape == (len(REFERENCES), 10)
    assert float(sacre.score_sums(counts.sum(axis=0))) == pytest.approx(
        34.848891720791194
    )


def test_sums_may_be_many():
    counts = sacre.count_matches(REFERENCES, PREDICTIONS)
    sums = counts.sum(axis=0)[None].repeat(3, axis=0)
    assert sacre.score_sums(sums).shape == (3,)


def test_signature_is_sacrebleu_s():
    assert "tok:13a|smooth:exp|version:" in sacre.signature()
