"""Chooses the settings of a retriever on the validation split."""

import collections
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
import tqdm

from tf_prompt.data.graphs import compile_function
from tf_prompt.data.vectors import nearest_rows
from tf_prompt.inference.consensus import sentence_bleu

CHOICES: dict[str, tuple] = {
    "text_weight": (0.05, 0.0, 0.2, 0.5, 1.0),
    "num_neighbours": (24, 6, 12, 48),
    "sharpness": (40.0, 10.0, 20.0, 80.0),
}
# Limits the time: comparing the 49 texts of an example takes some milliseconds.
MAX_EXAMPLES = 1000


def choose_settings(
    rows: np.ndarray,
    prompts: Sequence[str],
    queries: tuple[np.ndarray, np.ndarray],
    true_prompts: Sequence[str],
    families: Sequence,
    choices: Mapping[str, Sequence] = CHOICES,
) -> dict[str, float]:
    """Chooses the settings with the highest sentence BLEU, averaged over families.

    Each family has the same weight, because one can make up most of a split of real
    prompts.

    Args:
        rows: float `(images, depth + text_dim)`, features and word vectors of the
            training images, each of unit length.
        prompts: prompts of the training images, words joined by spaces.
        queries: float `(others, depth)` and `(others, text_dim)`, features of the
            validation images, and the word vectors predicted from them; at most
            `MAX_EXAMPLES` are used, evenly spread.
        true_prompts: prompts of the validation images.
        families: the family of each validation image, a name or number.
        choices: values to try for each argument of `Retriever`.

    Returns:
        dict from argument to its best value; among ties, the values tried first.
    """
    count = min(len(true_prompts), MAX_EXAMPLES)
    chosen = np.linspace(0, len(true_prompts) - 1, count).astype(int)
    most = min(max(choices["num_neighbours"]), len(prompts))
    own = [families[i] for i in chosen]
    shares = {name: 1 / number for name, number in collections.Counter(own).items()}
    compare = compile_function(sentence_bleu, [tf.TensorSpec((None,), tf.string)])
    totals = dict.fromkeys(itertools.product(*choices.values()), 0.0)
    for weight in tqdm.tqdm(choices["text_weight"], "choosing settings", delay=2):
        features, words = (part[chosen] for part in queries)
        sought = np.concatenate([features, weight * words], axis=1)
        found, _ = nearest_rows(sought, rows, most)
        for query, near, index in zip(sought, found, chosen, strict=True):
            similarity = rows[near].astype(np.float32) @ query
            texts = [*(prompts[i] for i in near), true_prompts[index]]
            bleu = compare(tf.constant(texts)).numpy()
            for number, sharpness in itertools.product(
                choices["num_neighbours"], choices["sharpness"]
            ):
                best = _agreed(bleu, similarity[:number], sharpness)
                share = shares[families[index]]
                totals[weight, number, sharpness] += share * bleu[best, -1]
    return dict(zip(choices, max(totals, key=totals.__getitem__), strict=True))


def _agreed(bleu, similarity, sharpness) -> int:
    """Index of the candidate with the highest expected BLEU; the nearest is first."""
    count = len(similarity)
    weights = np.exp(sharpness * (similarity - similarity[0]))
    return int((bleu[:count, :count] @ weights).argmax())
