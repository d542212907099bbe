"""Which of several texts agrees best with all of them: minimum Bayes risk by BLEU."""

import tensorflow as tf

MAX_N = 4
# Words compared at most, the limit of the text rule.
MAX_WORDS = 30


def expected_bleu(texts, weights):
    """Gives the sentence BLEU that each candidate can be expected to have.

    Each candidate is measured against all, itself among them, as if each were the
    true text with its weight.

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
    """Measures each text as if each were the true one.

    Counts of two words and more have one added, so that a text without a common run
    of four still scores.

    Args:
        texts: string `(texts,)`, words joined by spaces; beyond `MAX_WORDS` they are
            cut.

    Returns:
        float32 `(texts, texts)` in 0-1: row, the written text; column, the true one.

    Reference: Papineni et al., 2002; Lin and Och, 2004, section 4 of
    https://aclanthology.org/C04-1072, for the added one.
    """
    words = tf.strings.split(texts)[:, :MAX_WORDS]
    lengths = tf.cast(words.row_lengths(), tf.float32)
    # Numbers are quicker to compare than texts; two words in 2 ** 62 share one.
    ids = tf.strings.to_hash_bucket_fast(words, 2**62).to_tensor(-1)
    is_word = tf.sequence_mask(words.row_lengths(), tf.shape(ids)[1])
    both = is_word[:, None, :, None] & is_word[None, :, None, :]
    # (written, true, place in the written, place in the true)
    equal = (ids[:, None, :, None] == ids[None, :, None, :]) & both
    runs, log_precision = equal, 0.0
    for n in range(1, MAX_N + 1):
        if n > 1:
            runs = runs[:, :, :-1, :-1] & equal[:, :, n - 1 :, n - 1 :]
        matches = _clip(tf.reduce_sum(tf.cast(runs, tf.float32), axis=3))
        added = float(n > 1)
        totals = tf.maximum(lengths - n + 1, 0.0)[:, None]
        # Only single words can have no match; such a text scores 0 below.
        precision = (matches + added) / tf.maximum(totals + added, 1.0)
        log_precision += tf.math.log(tf.maximum(precision, 1e-9)) / MAX_N
    brevity = tf.minimum(0.0, 1 - lengths[None, :] / tf.maximum(lengths, 1.0)[:, None])
    has_match = tf.reduce_any(equal, axis=[2, 3])
    return tf.where(has_match, tf.exp(log_precision + brevity), 0.0)


def _clip(in_true):
    """Adds up the matches of all runs, each at most as often as the true text has it.

    Args:
        in_true: float `(written, true, places)`: how often the true text has the run
            that is written at a place.

    Returns:
        float `(written, true)`.
    """
    # Of equal runs at c places with t in the true text, min(c, t) match: each place
    # has the share min(1, t / c). The written text against itself gives c.
    own = tf.linalg.diag_part(tf.transpose(in_true, [2, 0, 1]))
    own = tf.transpose(own)[:, None, :]
    return tf.reduce_sum(tf.minimum(1.0, in_true / tf.maximum(own, 1.0)), axis=2)
