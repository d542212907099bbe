"""Scores candidates by their agreement with the others: minimum Bayes risk by BLEU."""

import tensorflow as tf

MAX_N = 4
# Words compared per text: the maximum length of normalised prompts.
MAX_WORDS = 30


def expected_bleu(texts, weights):
    """Computes the expected sentence BLEU of each candidate.

    Any candidate, the scored one included, may be the reference; `weights` are the
    probabilities.

    Args:
        texts: string `(batch, candidates)`, words joined by spaces.
        weights: float32 `(batch, candidates)`, each row summing to 1.

    Returns:
        float32 `(batch, candidates)` in 0-1.

    Reference: Kumar and Byrne, 2004, https://aclanthology.org/N04-1022.
    """

    def of_image(row):
        return tf.linalg.matvec(sentence_bleu(row[0]), row[1])

    # One image at a time: 24 candidates of 30 words are 2 MB of comparisons.
    expected = tf.map_fn(of_image, (texts, weights), fn_output_signature=tf.float32)
    return tf.ensure_shape(expected, texts.shape)


def sentence_bleu(texts):
    """Computes the sentence BLEU of every text against every text.

    One is added to the counts of bigrams and longer n-grams, so that texts without a
    common 4-gram do not all score 0.

    Args:
        texts: string `(texts,)`, words joined by spaces; only the first `MAX_WORDS`
            words count.

    Returns:
        float32 `(texts, texts)` in 0-1; rows are predictions, columns references.

    Reference: Papineni et al., 2002; for the added one, Lin and Och, 2004,
    https://aclanthology.org/C04-1072, section 4.
    """
    words = tf.strings.split(texts)[:, :MAX_WORDS]
    lengths = tf.cast(words.row_lengths(), tf.float32)
    # Hashes compare faster than strings; the chance of a collision is 2 ** -62.
    ids = tf.strings.to_hash_bucket_fast(words, 2**62).to_tensor(-1)
    is_word = tf.sequence_mask(words.row_lengths(), tf.shape(ids)[1])
    both = is_word[:, None, :, None] & is_word[None, :, None, :]
    # (predictions, references, place in the prediction, place in the reference)
    equal = (ids[:, None, :, None] == ids[None, :, None, :]) & both
    runs, log_precision = equal, 0.0
    for n in range(1, MAX_N + 1):
        if n > 1:
            runs = runs[:, :, :-1, :-1] & equal[:, :, n - 1 :, n - 1 :]
        matches = _clip(tf.reduce_sum(tf.cast(runs, tf.float32), axis=3))
        added = float(n > 1)
        totals = tf.maximum(lengths - n + 1, 0.0)[:, None]
        # Only unigrams can have no match; such texts get 0 below.
        precision = (matches + added) / tf.maximum(totals + added, 1.0)
        log_precision += tf.math.log(tf.maximum(precision, 1e-9)) / MAX_N
    brevity = tf.minimum(0.0, 1 - lengths[None, :] / tf.maximum(lengths, 1.0)[:, None])
    has_match = tf.reduce_any(equal, axis=[2, 3])
    return tf.where(has_match, tf.exp(log_precision + brevity), 0.0)


def _clip(in_true):
    """Counts matching n-grams, each at most as often as it occurs in the reference.

    Args:
        in_true: float `(predictions, references, places)`: how often the reference
            contains the n-gram at this place of the prediction.

    Returns:
        float `(predictions, references)`.
    """
    # An n-gram that occurs c times in the prediction and t times in the reference has
    # min(c, t) matches: min(1, t / c) per place. Each text against itself gives c.
    own = tf.linalg.diag_part(tf.transpose(in_true, [2, 0, 1]))
    own = tf.transpose(own)[:, None, :]
    return tf.reduce_sum(tf.minimum(1.0, in_true / tf.maximum(own, 1.0)), axis=2)
