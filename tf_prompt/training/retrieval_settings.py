"""Chooses the settings of a retriever on the validation split."""

import collections
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf
import tqdm

from tf_prompt.data.graphs import compile_function
from tf_prompt.data.vectors import nearest_rows
from tf_prompt.inference.consensus import sentence_bleu
from tf_prompt.metrics import bleu, meteor

CHOICES: dict[str, tuple] = {
    "text_weight": (0.05, 0.0, 0.2, 0.5, 1.0),
    # Only two: with more, a small validation split chooses worse.
    "style_weight": (0.4, 0.0),
    "num_neighbours": (24, 6, 12, 48),
    "sharpness": (40.0, 10.0, 20.0, 80.0),
}
# Tried besides no separator, because artists follow it.
SEPARATOR = "by"
# Limits the time: comparing the 49 texts of an example takes some milliseconds.
MAX_EXAMPLES = 1000
_IMAGES_AT_ONCE = 64


def choose_settings(
    rows: np.ndarray,
    prompts: Sequence[str],
    queries: Sequence[np.ndarray],
    true_prompts: Sequence[str],
    families: Sequence,
    choices: Mapping[str, Sequence] = CHOICES,
) -> dict[str, float]:
    """Chooses the settings with the highest sum of BLEU and METEOR.

    Each family has the same weight, because one can make up most of a split of real
    prompts. BLEU is computed without smoothing over all prompts: smoothed sentence BLEU
    favours short prompts, even wrong ones.

    Args:
        rows: float `(images, depth + text_dim + style_dim)`, features, word vectors
            and style of the training images, each of unit length.
        prompts: prompts of the training images, words joined by spaces.
        queries: float `(others, depth)`, `(others, text_dim)` and `(others,
            style_dim)`, features of the validation images, the word vectors predicted
            from them, and their style; at most `MAX_EXAMPLES` are used, evenly spread.
        true_prompts: prompts of the validation images.
        families: the family of each validation image, a name or number.
        choices: values to try for each argument of `Retriever`.

    Returns:
        dict from argument to its best value; among ties, the values tried first.
    """
    chosen, shares = _draw(families)
    most = min(max(choices["num_neighbours"]), len(prompts))
    compare = compile_function(sentence_bleu, [tf.TensorSpec((None,), tf.string)])
    written = {values: [] for values in itertools.product(*choices.values())}
    features, words, style = (part[chosen] for part in queries)
    weights = list(itertools.product(choices["text_weight"], choices["style_weight"]))
    for weight in tqdm.tqdm(weights, "choosing settings", delay=2):
        parts = [features, weight[0] * words, weight[1] * style]
        sought = np.concatenate(parts, axis=1)
        found, _ = nearest_rows(sought, rows, most)
        for query, near in zip(sought, found, strict=True):
            similarity = rows[near].astype(np.float32) @ query
            agreement = compare(tf.constant([prompts[i] for i in near])).numpy()
            for number, sharpness in itertools.product(
                choices["num_neighbours"], choices["sharpness"]
            ):
                best = near[_agreed(agreement, similarity[:number], sharpness)]
                written[*weight, number, sharpness].append(prompts[best])
    truth, score_pair = [true_prompts[i] for i in chosen], _build_scorer()
    totals = {
        values: sum(_score(score_pair, truth, texts, shares))
        for values, texts in written.items()
    }
    return dict(zip(choices, max(totals, key=totals.__getitem__), strict=True))


def score_families(
    model, features, true_prompts: Sequence[str], families
) -> tuple[float, float]:
    """Computes the BLEU and METEOR of a model, with the same weight for each family.

    Args:
        model: a `RetrievalModel`.
        features: float32 `(images, depth + style_dim)`, what `Retriever.look` gives for
            the validation images; at most `MAX_EXAMPLES` are used, evenly spread.
        true_prompts, families: see `choose_settings`.

    Returns:
        BLEU and METEOR, each 0-100.
    """
    chosen, shares = _draw(families)
    spec = tf.TensorSpec((None, features.shape[1]), tf.float32)
    weigh, written = compile_function(model.weigh, [spec]), []
    for start in range(0, len(chosen), _IMAGES_AT_ONCE):
        block = features[chosen[start : start + _IMAGES_AT_ONCE]]
        prompts, scores = weigh(tf.constant(block))
        best = tf.gather(prompts, tf.argmax(scores, axis=1), batch_dims=1)
        written += [text.decode() for text in best.numpy()]
    truth = [true_prompts[i] for i in chosen]
    return _score(_build_scorer(), truth, written, shares)


def _build_scorer() -> Callable:
    """Returns a function that gives a pair's BLEU counts and its METEOR."""
    synonyms = meteor.load_synonyms()

    # Cached, because most settings write the same prompts.
    @functools.cache
    def score_pair(true, written):
        pair = [true], [written]
        return bleu.count_matches(*pair)[0], meteor.score_pairs(*pair, synonyms)[0]

    return score_pair


def _score(score_pair, truth, written, shares) -> tuple[float, float]:
    """Computes BLEU and METEOR of weighted pairs."""
    counts, scores = zip(*map(score_pair, truth, written), strict=True)
    total = np.asarray(shares) @ np.array(counts)
    return float(bleu.score_sums(total)), float(np.average(scores, weights=shares))


def _draw(families) -> tuple[np.ndarray, list[float]]:
    """Picks examples evenly, and divides the weight of each family among its own."""
    count = min(len(families), MAX_EXAMPLES)
    chosen = np.linspace(0, len(families) - 1, count).astype(int)
    counts = collections.Counter(families[i] for i in chosen)
    return chosen, [1 / counts[families[i]] for i in chosen]


def _agreed(bleu, similarity, sharpness) -> int:
    """Index of the candidate with the highest expected BLEU; the nearest is first."""
    count = len(similarity)
    weights = np.exp(sharpness * (similarity - similarity[0]))
    return int((bleu[:count, :count] @ weights).argmax())
