"""Transforms of examples for `tf.data.Dataset.map`."""

import tensorflow as tf

from tf_prompt.data import images
from tf_prompt.data.text import END_ID, PAD_ID, START_ID, UNK_ID


def decode_pixels(image_size: int):
    """Decodes `image`.

    Args:
        image_size: int > 0, side of the image in pixels.

    Returns:
        A function that replaces `image`, an encoded image, by uint8
        `(image_size, image_size, 3)`.
    """

    def transform(example):
        return {**example, "image": images.decode_stored(example["image"], image_size)}

    return transform


def look_up_words(vocabulary, max_words: int):
    """Looks up the ids of words.

    Args:
        vocabulary: tokens in the order of their ids.
        max_words: int > 0, largest number of words; longer prompts are cut.

    Returns:
        A function that reads `words`, string `(words,)`, and adds `token_ids`,
        int32 `(words,)`; words outside the vocabulary become `UNK_ID`.
    """
    keys = tf.constant(vocabulary)
    ids = tf.range(len(vocabulary), dtype=tf.int32)
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(keys, ids), default_value=UNK_ID
    )

    def transform(example):
        return {**example, "token_ids": table.lookup(example["words"][:max_words])}

    return transform


def pose_task(example):
    """Converts an example to the inputs and targets of a captioner.

    Args:
        example: dict of `image` or `regions`, and `token_ids`, int32 `(words,)`.

    Returns:
        inputs: dict of `images` or `regions`, and `token_ids`, int32 `(words + 1,)`:
            the start token, then the words.
        targets: int32 `(words + 1,)`: the words, then the end token.
    """
    token_ids = example["token_ids"]
    if "regions" in example:
        inputs = {"regions": example["regions"]}
    else:
        inputs = {"images": example["image"]}
    inputs["token_ids"] = tf.concat([[START_ID], token_ids], axis=0)
    return inputs, tf.concat([token_ids, [END_ID]], axis=0)


def weigh_words(inputs, targets):
    """Adds the targets to the inputs, and weights for a mean over words.

    Padding has weight 0. Keras divides by all positions in a replica's share of the
    batch; the weights turn this into a division by the words of the whole batch, so
    that any number of replicas gives the loss and gradients of a single one.

    Args:
        inputs: inputs of a padded batch, see `pose_task`.
        targets: int32 `(batch, tokens)`.

    Returns:
        inputs: with `target_ids`, from which a captioner computes its loss.
        targets: as given.
        sample_weight: float32 `(batch, tokens)`, mean 1.
    """
    mask = tf.cast(targets != PAD_ID, tf.float32)
    weights = mask / tf.reduce_mean(mask)
    return {**inputs, "target_ids": targets}, targets, weights


def join_reference(example):
    """Reduces an example to what evaluation needs.

    Returns:
        dict of `image`, `image_id` and `reference`, the words joined by spaces.
    """
    return {
        "image": example["image"],
        "image_id": example["image_id"],
        "reference": tf.strings.reduce_join(example["words"], separator=" "),
    }
