import nltk
import numpy as np
import pytest
from nltk.corpus.reader.wordnet import WordNetCorpusReader
from nltk.corpus.util import LazyCorpusLoader
from nltk.translate.meteor_score import meteor_score

from tests.metrics.prompts import PREDICTIONS, REFERENCES
from tf_prompt.metrics import meteor


@pytest.fixture
def nltk_folder(monkeypatch):
    """Returns a function that makes one folder, or none, NLTK's only data."""

    def set_folder(folder):
        # A loader once loaded never looks again; these tests need fresh ones.
        omw = LazyCorpusLoader("omw-1.4", WordNetCorpusReader, None)
        wordnet = LazyCorpusLoader("wordnet", WordNetCorpusReader, omw)
        monkeypatch.setattr(nltk.corpus, "wordnet", wordnet)
        monkeypatch.setattr(nltk.data, "path", [str(folder)] if folder else [])

    return set_folder


@pytest.mark.parametrize(
    "reference, prediction, expected",
    [
        # One run of all m words: 1 - 0.5 / m ** 3.
        ("a b c d", "a b c d", 100 * (1 - 0.5 / 4**3)),
        ("cat", "cat", 50),
        # 4 matches in 3 runs (a b, d, c): 1 - 0.5 * (3 / 4) ** 3.
        ("a b c d", "a b d c", 100 * (1 - 0.5 * (3 / 4) ** 3)),
        # P = 1, R = 1 / 2: P * R / (0.9 * P + 0.1 * R) = 10 / 19, one run of 2.
        ("a b c d", "a b", 100 * 10 / 19 * (1 - 0.5 / 2**3)),
        # Porter: both words have the stem "paint".
        ("painted", "painting", 50),
        ("a cat", "", 0),
        ("", "a cat", 0),
        ("a cat", "two dogs", 0),
    ],
)
def test_score_pairs_by_hand(reference, prediction, expected):
    found = meteor.score_pairs([reference], [prediction], meteor.Synonyms())
    np.testing.assert_allclose(found, [expected])


def test_a_machine_without_wordnet_says_so(nltk_folder):
    nltk_folder(None)
    synonyms = meteor.load_synonyms()
    assert "|synonyms:off|" in meteor.signature(synonyms)
    assert meteor.score_pairs(["car"], ["auto"], synonyms) == [0]


def test_wordnet_gives_synonyms_and_nltk_s_own_numbers(nltk_folder, real_data):
    nltk_folder(real_data / "nltk_data")
    synonyms = meteor.load_synonyms()
    assert "|synonyms:wordnet-3.0|" in meteor.signature(synonyms)
    assert meteor.score_pairs(["car"], ["auto"], synonyms) == [50]
    # The docstring of nltk 3.10.4's meteor_score: 0.6944, 0.
    guide = (
        "it is a guide to action which ensures that the military always obeys the "
        "commands of the party"
    )
    truth = (
        "it is a guide to action that ensures that the military will forever heed "
        "party commands"
    )
    found = meteor.score_pairs([truth], [guide], synonyms)
    np.testing.assert_allclose(found, [69.44], atol=0.005)
    expected = [
        100 * meteor_score([r.split()], p.split(), wordnet=nltk.corpus.wordnet)
        for r, p in zip(REFERENCES, PREDICTIONS, strict=True)
    ]
    found = meteor.score_pairs(REFERENCES, PREDICTIONS, synonyms)
    np.testing.assert_allclose(found, expected)
