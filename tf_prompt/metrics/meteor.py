"""METEOR as in NLTK, with or without WordNet's synonyms."""

import functools
import importlib.metadata
from collections.abc import Sequence

import nltk.data
import numpy as np
from nltk.corpus.reader.api import CorpusReader
from nltk.corpus.reader.wordnet import WordNetCorpusReader
from nltk.corpus.util import LazyCorpusLoader
from nltk.stem.porter import PorterStemmer
from nltk.translate.meteor_score import single_meteor_score

from tf_prompt.metrics.pairs import check_pairs


class Synonyms:
    """Cached synonyms for NLTK's METEOR.

    Args:
        wordnet: NLTK's loaded WordNet reader; None means no synonyms.
    """

    def __init__(self, wordnet=None):
        self.name = "off" if wordnet is None else f"wordnet-{wordnet.get_version()}"
        self.synsets = functools.cache(wordnet.synsets if wordnet else _no_synsets)


def _no_synsets(word: str) -> list:
    return []


def load_synonyms() -> Synonyms:
    """Loads WordNet from NLTK's data folders; never downloads it.

    Returns:
        WordNet's synonyms, or none if no folder of `nltk.data.path` has the data. To
        get it, run `python -m nltk.downloader wordnet`, or set `NLTK_DATA`.
    """
    try:
        return Synonyms(_load_wordnet(tuple(nltk.data.path)))
    except LookupError:
        return Synonyms()


class _English(WordNetCorpusReader):
    def map_wn(self, version="wordnet"):
        """Leaves out what other languages need: half the time of loading."""


@functools.cache
def _load_wordnet(folders: tuple[str, ...]) -> WordNetCorpusReader:
    """Loads WordNet; the folders are those in which NLTK looks."""
    # Never loaded, but without one NLTK warns.
    others = LazyCorpusLoader("omw-2.0", CorpusReader, r".*\.tab")
    wordnet = LazyCorpusLoader("wordnet", _English, others)
    wordnet.ensure_loaded()
    return wordnet


def score_pairs(
    references: Sequence[str], predictions: Sequence[str], synonyms: Synonyms
) -> np.ndarray:
    """Scores each prediction by its matched words and their order.

    A perfect prediction of m words gets 100 × (1 − 0.5 / m³), not 100, because the
    fragmentation penalty counts its one chunk. NLTK looks synonyms up by stem: "auto"
    finds "car", but "automobile" (stem "automobil") finds none.

    Args:
        references: true prompts, words joined by spaces.
        predictions: predicted prompts, in the order of `references`.
        synonyms: from `load_synonyms`.

    Returns:
        float64 `(examples,)` in 0–100; the corpus score is the mean.

    Raises:
        ValueError: if there is not one prediction per reference.

    Reference: Lavie and Agarwal, 2007, https://aclanthology.org/W07-0734.
    """
    check_pairs(references, predictions)
    stemmer = _cached_stemmer()
    scores = [
        single_meteor_score(
            reference.split(), prediction.split(), stemmer=stemmer, wordnet=synonyms
        )
        for reference, prediction in zip(references, predictions, strict=True)
    ]
    return 100 * np.array(scores)


@functools.cache
def _cached_stemmer() -> PorterStemmer:
    stemmer = PorterStemmer()
    stemmer.stem = functools.cache(stemmer.stem)
    return stemmer


def signature(synonyms: Synonyms) -> str:
    """Returns the metric's signature: everything that the score depends on."""
    version = importlib.metadata.version("nltk")
    return (
        f"nltk:{version}|meteor_score|alpha:0.9|beta:3|gamma:0.5|stem:porter"
        f"|synonyms:{synonyms.name}|tok:split"
    )
