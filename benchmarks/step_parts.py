"""Where the time of a training step goes, part by part.

Batches of 16 pictures of 224 pixels and 31 tokens, ResNet50 frozen, 46,664 words,
random weights. Each part is a compiled function of its own on what the part before
it gives; `rest` is what the whole step takes beyond them.
"""

import importlib.metadata
import json
import statistics
import sys

import numpy as np

from benchmarks import measure, threads

threads.pin()
import tensorflow as tf  # noqa: E402

from tf_prompt.models import presets  # noqa: E402
from tf_prompt.runs.config import FitConfig  # noqa: E402
from tf_prompt.training import recipes  # noqa: E402
from tf_prompt.training.tasks.captioning import CaptioningTask  # noqa: E402

PRESETS = ("lstm_base", "transformer_base")
VOCABULARY = 46664
PACKAGES = ("tensorflow", "keras")


def main(argv=None) -> int:
    """Runs the profile."""
    quick = measure.parse_quick("step_parts", __doc__, argv)
    batch, tokens, repeats = (4, 16, 2) if quick else (16, 31, 9)
    profiles = []
    for preset in PRESETS:
        seconds = time_parts(preset, batch, tokens, repeats)
        print(f"{preset}, {batch} pictures, {tokens} tokens")
        for name, value in seconds.items():
            share = value / seconds["whole step"]
            print(f"  {name:<28}{1000 * value:7.0f} ms {share:6.1%}")
        rounded = {name: round(value, 3) for name, value in seconds.items()}
        profiles.append({"benchmark": f"step_parts_{preset}", "seconds": rounded})
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    print(json.dumps([{**profile, "versions": versions} for profile in profiles]))
    return 0


def time_parts(preset: str, batch: int, tokens: int, repeats: int) -> dict[str, float]:
    """Median seconds of each part, what remains, and the whole."""
    runs = build_runs(preset, *draw_batch(batch, tokens))
    times = {name: [] for name in runs}
    # In turn, so that a slower machine slows all.
    for _ in range(repeats + 1):
        for name, run in runs.items():
            times[name].append(measure.time_of(run))
    median = {name: statistics.median(values[1:]) for name, values in times.items()}
    words_back = median["say_back"] - median["say"]
    parts = {
        "encoder, forward": median["encode"],
        "decoder, forward": median["decode"] - median["say"],
        "scores and loss, forward": median["say"],
        "decoder, backward": median["decode_back"] - median["decode"] - words_back,
        "scores and loss, backward": words_back,
        "clipping and AdamW": median["update"],
    }
    rest = median["whole"] - sum(parts.values())
    return {**parts, "rest": rest, "whole step": median["whole"]}


def draw_batch(batch: int, tokens: int):
    """Pictures, and the words before and after each place."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, 224, 224, 3)).astype(np.uint8)
    ids = rng.integers(4, VOCABULARY, (2, batch, tokens)).astype(np.int32)
    words = {"token_ids": tf.constant(ids[0]), "target_ids": tf.constant(ids[1])}
    return tf.constant(images), words


def build_runs(preset: str, images, words) -> dict:
    """Functions that each do one part of a step, and one that does it all."""
    model = presets.build(preset)
    CaptioningTask.compile_for(model, recipes.complete(FitConfig(preset=preset)), 1000)
    encode = tf.function(lambda: model.extract_regions(images, training=True))
    inputs = {"regions": encode(), **words}
    decode = tf.function(lambda: model(inputs, training=True))
    decode()
    say, say_back = build_words(model, words)

    @tf.function
    def decode_back():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(inputs, training=True)[..., 0])
        return tape.gradient(loss, [v.value for v in model.trainable_variables])

    gradients = decode_back()

    @tf.function
    def update():
        model.optimizer.apply(gradients, model.trainable_variables)

    model.optimizer.build(model.trainable_variables)
    weights = tf.ones(words["target_ids"].shape)
    whole = ({"images": images, **words}, words["target_ids"], weights)
    batches = threads.repeat_batch(whole)
    return {
        "encode": encode,
        "say": say,
        "decode": decode,
        "say_back": say_back,
        "decode_back": decode_back,
        "update": update,
        "whole": lambda: model.fit(batches, steps_per_epoch=1, verbose=0),
    }


def build_words(model, words):
    """The last layer with its loss: forward alone, and with its gradients."""
    output = model.output_proj
    width = output.kernel.shape[0]
    hidden = tf.random.normal((*words["target_ids"].shape, width))

    @tf.function
    def say_back():
        with tf.GradientTape() as tape:
            tape.watch(hidden)
            loss = tf.reduce_mean(model.score_tokens(hidden, words)[..., 0])
        return tape.gradient(loss, [hidden, output.kernel.value, output.bias.value])

    return tf.function(lambda: model.score_tokens(hidden, words)), say_back


if __name__ == "__main__":
    sys.exit(main())
