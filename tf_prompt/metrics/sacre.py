"""BLEU as in sacrebleu, with its tokenizer, smoothing and signature."""

from collections.abc import Sequence

import numpy as np

from tf_prompt.metrics.pairs import check_pairs

MAX_N = 4


def count_matches(references: Sequence[str], predictions: Sequence[str]) -> np.ndarray:
    """Counts the sufficient statistics of corpus BLEU for each pair.

    Args:
        references: true prompts.
        predictions: predicted prompts, in the order of `references`.

    Returns:
        int64 `(examples, 10)`: numbers of correct n-grams, n = 1 to 4; of n-grams in
        the prediction, n = 1 to 4; of tokens in the prediction; of tokens in the
        reference.

    Raises:
        ImportError: if sacrebleu is not installed.
        ValueError: if there is not one prediction per reference.

    Reference: Post, 2018, https://aclanthology.org/W18-6319.
    """
    check_pairs(references, predictions)
    # Only the counts are used; without the flag sacrebleu warns about the scores.
    metric = _load().BLEU(effective_order=True)
    rows = []
    for reference, prediction in zip(references, predictions, strict=True):
        found = metric.sentence_score(prediction, [reference])
        rows.append([*found.counts, *found.totals, found.sys_len, found.ref_len])
    return np.array(rows, np.int64)


def score_sums(sums: np.ndarray) -> np.ndarray:
    """Computes BLEU from summed counts, with sacrebleu's default smoothing.

    Args:
        sums: `(..., 10)`, sums of rows of `count_matches`.

    Returns:
        float64 `(...)` in 0–100.
    """
    flat = np.asarray(sums).reshape(-1, 2 * MAX_N + 2).round().astype(int).tolist()
    compute = _load().BLEU.compute_bleu
    scores = [
        compute(row[:MAX_N], row[MAX_N : 2 * MAX_N], row[-2], row[-1], "exp").score
        for row in flat
    ]
    return np.array(scores).reshape(np.shape(sums)[:-1])


def signature() -> str:
    """Returns sacrebleu's own signature."""
    metric = _load().BLEU()
    metric.corpus_score(["a"], [["a"]])
    return f"sacrebleu|{metric.get_signature()}"


def _load():
    try:
        import sacrebleu
    except ImportError as error:
        raise ImportError(
            'sacrebleu needs an extra: pip install "tf_prompt[eval]"'
        ) from error
    return sacrebleu
