"""Batches of images and the tokens of their prompts, for CLIP's loss."""

from collections.abc import Sequence

import tensorflow as tf

from tf_prompt.data import records, transforms
from tf_prompt.data.folder import count_examples
from tf_prompt.data.graphs import as_written
from tf_prompt.data.reading import Reading


@as_written
def training_batches(
    reading: Reading,
    vocabulary: Sequence[str],
    tokens,
    max_words: int,
    span_rate: float = 0.0,
) -> tf.data.Dataset:
    """Returns the batches of several epochs, one after the other.

    Args:
        reading: how the training split is read; each epoch draws new spans.
        vocabulary: tokens in the order of their ids; other words are left out.
        tokens: `clip_tokens.CLIPTokens`.
        max_words: largest number of words per prompt.
        span_rate: float in [0, 1], share of prompts that `cut_span` shortens. Whole
            prompts teach little about phrases, since few words tell them apart.

    Returns:
        Dataset of `(inputs, token_ids)`: inputs are `images`, uint8 `(batch, size,
        size, 3)`, and `token_ids`, int32 `(batch, tokens)`, zeros after the end.

    Raises:
        FileNotFoundError: if the folder holds no training shard.
    """
    shards = records.list_shards(reading.folder, "train")
    # Outside the pipeline's graph, which would include the tokenizer.
    to_tokens = gather_tokens(tokens, vocabulary, max_words)

    def read_epoch(epoch):
        serialised = epoch.shuffle(epoch.interleave(shards, tf.data.TFRecordDataset))
        examples = _cut_spans(serialised.map(records.parse), span_rate, epoch.order)
        pairs = epoch.skip_batches(examples).map(to_tokens).map(_pair)
        return epoch.read(pairs, tf.data.Dataset.padded_batch, reading.pixels())

    return reading.read_epochs(read_epoch)


@as_written
def validation_batches(
    reading: Reading, vocabulary: Sequence[str], tokens, max_words: int
) -> tf.data.Dataset:
    """Returns the validation split once, in order; batches as in `training_batches`."""
    shards = records.list_shards(reading.folder, "validation")
    num_examples = count_examples(reading.folder, "validation")
    examples = tf.data.TFRecordDataset(shards).map(records.parse)
    pairs = examples.map(gather_tokens(tokens, vocabulary, max_words)).map(_pair)
    pad = tf.data.Dataset.padded_batch
    return reading.read_once(pairs, num_examples, pad, reading.pixels())


def cut_span(example, rate: float, seed):
    """Reduces some examples to a few consecutive words.

    The number of words is drawn uniformly on a logarithmic scale, from one to all.

    Args:
        example: dict with `words`, string `(words,)`.
        rate: float in [0, 1], share of examples to reduce.
        seed: two integers, random seed.

    Returns:
        The example, with `words` reduced or unchanged.
    """
    words = example["words"]
    num_words = tf.cast(tf.size(words), tf.float32)
    cut, size, place = tf.unstack(tf.random.stateless_uniform([3], seed))
    kept = tf.floor((num_words + 1) ** size)
    kept = tf.where(cut < rate, tf.minimum(kept, num_words), num_words)
    start = tf.cast(place * (num_words - kept + 1), tf.int32)
    return {**example, "words": words[start : start + tf.cast(kept, tf.int32)]}


def _cut_spans(examples, rate, order):
    if not rate:
        return examples
    return examples.enumerate().map(
        lambda index, example: cut_span(example, rate, [order, index])
    )


def gather_tokens(tokens, vocabulary, max_words: int):
    """Looks up the byte-pair ids of words.

    Args:
        tokens: `clip_tokens.CLIPTokens`.
        vocabulary: tokens in the order of their ids.
        max_words: int > 0, largest number of words.

    Returns:
        A function that reads `words`, string `(words,)`, and adds `token_ids`, int32
        `(tokens,)`: start, byte pairs, end.
    """
    look_up = transforms.look_up_words(vocabulary, max_words)
    table = tf.ragged.constant(
        tokens.rows_of_words(vocabulary), dtype=tf.int32, ragged_rank=1
    )

    def transform(example):
        word_ids = look_up(example)["token_ids"]
        # Byte pairs do not span words, so context changes nothing.
        ids = tf.gather(table, word_ids).flat_values[: tokens.max_tokens - 2]
        ids = tf.concat([[tokens.start_id], ids, [tokens.end_id]], axis=0)
        return {**example, "token_ids": ids}

    return transform


def _pair(example):
    token_ids = example["token_ids"]
    return {"images": example["image"], "token_ids": token_ids}, token_ids
