"""Batches of pictures and the tokens of their prompts, for CLIP's loss."""

import tensorflow as tf

from tf_prompt.data import epochs as reading
from tf_prompt.data import folder as data_folder
from tf_prompt.data import images, records, sharding, transforms


def training_batches(
    folder,
    vocabulary,
    tokens,
    *,
    image_size: int,
    max_words: int,
    batch_size: int,
    seed: int,
    epochs: range,
    shuffle_buffer: int,
    span_rate: float = 0.0,
    skip: int = 0,
    share: sharding.Share | None = None,
) -> tf.data.Dataset:
    """Gives the batches of several epochs, one after the other.

    Order and spans of an epoch depend on `seed` and the epoch's number alone. A last
    batch that is not full is dropped.

    Args:
        folder, image_size, max_words, batch_size, seed, epochs, shuffle_buffer, skip,
            share: see `data.dataset.TrainingEpochs`.
        vocabulary: token of each id, as in `text`. Words outside it are left out.
        tokens: `clip_tokens.CLIPTokens`.
        span_rate: float in [0, 1], share of prompts that `cut_span` cuts. Whole
            prompts teach nothing about phrases, and few words tell them apart.

    Returns:
        Dataset of `(inputs, token_ids)`: inputs are `images`, uint8 `(batch, size,
        size, 3)`, and `token_ids`, int32 `(batch, tokens)`, zeros after the end.

    Raises:
        FileNotFoundError: if the folder holds no training shard.
    """
    shards = records.list_shards(folder, "train")
    # Outside the pipeline's graph, where the tokenizer would be part of it.
    to_tokens = gather_tokens(tokens, vocabulary, max_words)

    def read_epoch(order, skip_first):
        size = share.drawn_size(batch_size) if share else batch_size
        examples = _shuffle(shards, shuffle_buffer, order, share)
        examples = _cut_spans(examples.map(records.parse), span_rate, order)
        if share:
            parts = reading.cut_batches(
                examples,
                share,
                skip,
                size,
                skip_first,
                lambda examples: _pad(examples.map(to_tokens).map(_choose), size, True),
            )
            return _decode_own(parts, image_size)
        if skip:
            examples = skip_first(examples, skip * size)
        return _pad(_pairs(examples.map(to_tokens), image_size), size, True)

    return reading.read_epochs(epochs, seed, read_epoch)


def validation_batches(
    folder,
    vocabulary,
    tokens,
    *,
    image_size: int,
    max_words: int,
    batch_size: int,
    share: sharding.Share | None = None,
) -> tf.data.Dataset:
    """Gives the validation split once, in the form of `training_batches`."""
    serialised = tf.data.TFRecordDataset(records.list_shards(folder, "validation"))
    num_examples = data_folder.count_examples(folder, "validation")
    to_tokens = gather_tokens(tokens, vocabulary, max_words)
    tokenised = serialised.map(records.parse).map(to_tokens)
    if share:
        parts = share.cut(_pad(tokenised.map(_choose), batch_size, False))
        return _decode_own(parts, image_size).prefetch(tf.data.AUTOTUNE)
    batches = _pad(_pairs(tokenised, image_size), batch_size, drop_remainder=False)
    return reading.with_length(batches, num_examples, batch_size)


def cut_span(example, rate: float, seed):
    """Leaves some examples a few words in a row.

    The number of words is drawn evenly on a logarithmic scale, from one to all.

    Args:
        example: dict with `words`, string `(words,)`.
        rate: float in [0, 1], share of examples that are cut.
        seed: two integers; equal ones draw alike.

    Returns:
        The example, `words` cut or as they were.
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
    """Gives words the ids of their byte pairs.

    Args:
        tokens: `clip_tokens.CLIPTokens`.
        vocabulary: token of each id.
        max_words: int > 0, words kept.

    Returns:
        A function that reads `words`, string `(words,)`, and adds `token_ids`,
        int32 `(tokens,)`: start, byte pairs, end.
    """
    look_up = transforms.look_up_words(vocabulary, max_words)
    table = tf.ragged.constant(
        tokens.rows_of_words(vocabulary), dtype=tf.int32, ragged_rank=1
    )

    def transform(example):
        word_ids = look_up(example)["token_ids"]
        # Byte pairs end with their word, so context changes nothing.
        ids = tf.gather(table, word_ids).flat_values[: tokens.max_tokens - 2]
        ids = tf.concat([[tokens.start_id], ids, [tokens.end_id]], axis=0)
        return {**example, "token_ids": ids}

    return transform


def _shuffle(shards, buffer, seed, share):
    names = tf.data.Dataset.from_tensor_slices(shards)
    if share:
        names = share.choose_files(names)
    serialised = names.shuffle(len(shards), seed=seed).interleave(
        tf.data.TFRecordDataset, cycle_length=reading.OPEN_SHARDS
    )
    serialised = serialised.shuffle(buffer, seed=seed)
    return share.fill_epoch(serialised) if share else serialised


def _pairs(examples, image_size):
    decoded = examples.map(transforms.decode_pixels(image_size), tf.data.AUTOTUNE)
    return decoded.map(_choose)


def _choose(example):
    return {"images": example["image"], "token_ids": example["token_ids"]}


def _decode_own(parts, image_size):
    """Decodes the pictures of a worker's parts, and no others."""
    decode = sharding.decode_rows(
        lambda image: images.decode_stored(image, image_size),
        tf.TensorSpec((image_size, image_size, 3), tf.uint8),
    )

    def decode_own(inputs, token_ids):
        return {**inputs, "images": decode(inputs["images"])}, token_ids

    return parts.map(decode_own, tf.data.AUTOTUNE)


def _pad(pairs, batch_size, drop_remainder):
    batches = pairs.padded_batch(
        batch_size,
        padded_shapes={k: v.shape for k, v in pairs.element_spec.items()},
        drop_remainder=drop_remainder,
    )
    return batches.map(lambda inputs: (inputs, inputs["token_ids"]))
