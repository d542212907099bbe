"""Reads the regions of a frozen encoder that are stored beside the shards."""

import functools
import json
import zlib

import tensorflow as tf

from tf_prompt.data import region_cache
from tf_prompt.data.graphs import compile_function
from tf_prompt.layers.augmentation import Augmentation
from tf_prompt.training.tasks.sent_encoder import SentEncoder, fingerprint, send

# Each view is one random draw of all augmentation, including the default flip.
DEFAULT_VIEWS = 4


def cached_regions(
    task, model, split: str, augments: bool = True
) -> region_cache.Features | None:
    """Returns the stored regions of a split, or None if images are read.

    Args:
        task: a `Task`.
        model: a model with `image_encoder`, `encoder`, `image_size` and, to augment,
            the arguments of `Augmentation`.
        split: one of `split.SPLITS`.
        augments: whether the training split is augmented as the model says.
    """
    config, drawn = task.config, None
    if not config.cache_features:
        return None
    if augments and split == "train":
        drawn = (model.rotation_degrees, model.flip, model.erasing_rate)
        drawn = drawn if any(drawn) else None
    signature = {
        "encoder": fingerprint(model.image_encoder),
        "image_size": model.image_size,
    }
    if isinstance(model.encoder, dict):
        # Equal weights do not give equal features if pixels are scaled differently.
        signature["description"] = json.dumps(model.encoder, sort_keys=True)
    if drawn:
        signature["augmentation"] = list(drawn)
        signature["seed"] = config.seed
    extract = _extractor(model.image_encoder, model.image_size, drawn, config.seed)
    return region_cache.cached_features(
        task.folder,
        split,
        extract,
        signature=signature,
        image_size=model.image_size,
        shape=model.image_encoder.output_shape[1:],
        num_views=(config.views or DEFAULT_VIEWS) if drawn else 1,
        send=lambda output: functools.partial(
            _extractor_of, send(output, model, drawn, config.seed, extract)
        ),
    )


# A worker rebuilds the encoder once, not once per shard, and keeps only one in memory.
@functools.lru_cache(maxsize=1)
def _extractor_of(sent: SentEncoder):
    return sent.build(_extractor)


def _extractor(encoder, size, drawn, seed):
    """Returns the function that `cached_features` needs; None does not augment."""
    augmentation = Augmentation(*drawn) if drawn else None
    # Not in half precision, which is for training: other runs use the cache too.
    spec = tf.TensorSpec((None, size, size, 3), tf.uint8)

    def run(images):
        images = tf.cast(images, tf.float32)
        if augmentation:
            images = augmentation(images, training=True)
        return encoder(images, training=False)

    run = compile_function(run, [spec])

    def extract(images, seeds):
        if augmentation:
            for number, step in enumerate(augmentation.steps):
                state = (zlib.crc32(repr((seed, number, *seeds)).encode()), 0)
                step.generator.state.assign(state)
        return run(images).numpy()

    return extract
