"""Small functions from example to example, for `tf.data.Dataset.map`."""

import tensorflow as tf

from tf_prompt.data import images
from tf_prompt.data.text import END_ID, PAD_ID, START_ID, UNK_ID


def decode_pixels(image_size: int):
    """Makes `image` a picture.

    Args:
        image_size: int > 0, pixels a side.

    Returns:
        A function that reads `image`, an encoded image, and writes it as uint8
        `(image_size, image_size, 3)`.
    """

    def transform(example):
        return {**example, "image": images.decode_stored(example["image"], image_size)}

    return transform


def look_up_words(vocabulary, max_words: int):
    """Gives words their ids.

    Args:
        vocabulary: token of each id.
        max_words: int > 0, words kept; a longer prompt loses its tail.

    Returns:
        A function that reads `words`, string `(words,)`, and adds `token_ids`,
        int32 `(words,)`; a word outside the vocabulary becomes `UNK_ID`.
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
    """Turns an example into what the model sees and what it is to say.

    Args:
        example: dict with `image`, or instead `regions`, and `token_ids`, int32
            `(words,)`.

    Returns:
        inputs: `images` or `regions`, and `token_ids` `(words + 1,)`: the start
            token, then the words.
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
    """Adds targets to the inputs, and weights that make Keras' mean one over words.

    Padding weighs nothing. Keras divides by all positions of a replica's share of
    the batch; the weights make that a division by the words of the whole batch, so
    that any number of replicas gives the loss, and the gradients, of one.

    Args:
        inputs: of a padded batch, see `pose_task`.
        targets: int32 `(batch, tokens)`.

    Returns:
        inputs with `target_ids`, from which a captioner computes its loss; targets;
        and `sample_weight`, float32 `(batch, tokens)`, mean 1.
    """
    mask = tf.cast(targets != PAD_ID, tf.float32)
    weights = mask / tf.reduce_mean(mask)
    return {**inputs, "target_ids": targets}, targets, weights


def join_reference(example):
    """Reduces an example to what an evaluation needs.

    Returns:
        dict of `image`, `image_id` and `reference`, the words joined by spaces.
    """
    return {
        "image": example["image"],
        "image_id": example["image_id"],
        "reference": tf.strings.reduce_join(example["words"], separator=" "),
    }
