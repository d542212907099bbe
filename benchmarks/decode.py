"""Greedy decoding against Hugging Face and against loops without a cache.

Both sides begin from the same 49 regions of 2,048 numbers and write 39 tokens
from 46,664 with the same random weights: decoder of 2 blocks, 512 wide, 4 heads.
"""

import functools
import pathlib
import sys
import tempfile

import keras
import numpy as np

from benchmarks import measure, threads

threads.pin()
import tensorflow as tf  # noqa: E402

from benchmarks.hugging_face import HuggingFaceDecoder  # noqa: E402
from tf_prompt.data.text import END_ID, PAD_ID, START_ID, UNK_ID  # noqa: E402
from tf_prompt.decoding.rules import Rules  # noqa: E402
from tf_prompt.decoding.search import Search  # noqa: E402
from tf_prompt.models import presets  # noqa: E402

NUM_TOKENS, REGIONS = 39, (49, 2048)
# Targets at each batch size: with XLA, and of an exported signature without it.
TARGETS = {1: (3, 3), 16: (2, 2.5), 64: (1.3, 2)}
DOCUMENTATION_BATCH, DOCUMENTATION_TARGET = 16, 10
PACKAGES = ("tensorflow", "keras", "torch", "transformers")


def main(argv=None) -> int:
    """Runs the benchmark."""
    quick = measure.parse_quick("decode", __doc__, argv)
    repeats = 2 if quick else 9
    captioner = build_captioner()
    rival = HuggingFaceDecoder(captioner)
    writers = {
        "xla": tf.function(build_greedy(captioner), jit_compile=True),
        "exported": export(captioner),
    }
    results = []
    for batch, targets in TARGETS.items():
        regions = draw_regions(batch)
        expected = rival.generate(regions, NUM_TOKENS)
        for (name, write), target in zip(writers.items(), targets, strict=True):
            ours = _call(write, regions)
            results.append(
                measure.compare(
                    f"greedy_{name}_{batch}",
                    ours,
                    functools.partial(rival.generate, regions, NUM_TOKENS),
                    repeats,
                    batch,
                    target,
                    same_tokens(ours(), expected),
                    PACKAGES,
                )
            )
    results += compare_with_documentation(captioner, writers["exported"], quick)
    return measure.report(*results)


def build_captioner(name: str = "transformer_base"):
    """The thesis's decoder with BART's heads, which never ends a prompt."""
    keras.utils.set_random_seed(0)
    arguments = {"max_tokens": NUM_TOKENS}
    if name == "transformer_base":
        arguments |= {"num_encoder_layers": 0, "num_heads": 4, "head_dim": 128}
    captioner = presets.build(name, **arguments)
    bias = np.zeros(captioner.vocab_size, "float32")
    bias[[PAD_ID, UNK_ID, START_ID, END_ID]] = -1e9
    captioner.output_proj.bias.assign(bias)
    return captioner


def draw_regions(batch: int) -> np.ndarray:
    """Random features of images, float32 `(batch, 49, 2048)`."""
    return np.random.default_rng(batch).normal(0, 1, (batch, *REGIONS)).astype("f")


def build_greedy(captioner):
    """Our loop as a function from regions to token ids `(batch, tokens)`."""

    def write(regions):
        search, state, memory, start_ids = begin_prompts(captioner, regions)
        return search.greedy(state, memory, start_ids)[0]

    return write


def build_search(captioner) -> Search:
    """A search for as many tokens as both sides write."""
    rules = Rules((PAD_ID, UNK_ID, START_ID))
    return Search(captioner.step, END_ID, NUM_TOKENS, rules)


def begin_prompts(captioner, regions):
    """A search and its arguments; what `encode` does after its encoder's last block."""
    memory = tuple(b.project_regions(regions) for b in captioner.decoder_blocks)
    batch = tf.shape(regions)[0]
    blocks = captioner.decoder_blocks
    state = tuple(b.empty_cache(batch, NUM_TOKENS, "float32") for b in blocks)
    return build_search(captioner), state, memory, tf.fill([batch], START_ID)


def export(captioner):
    """Our loop out of a SavedModel, loaded again: no XLA."""
    signature = [tf.TensorSpec((None, *REGIONS), tf.float32, name="regions")]
    archive = keras.export.ExportArchive()
    archive.track(captioner)
    write = tf.function(build_greedy(captioner), input_signature=signature)
    archive.add_endpoint("serve", write)
    with tempfile.TemporaryDirectory() as scratch:
        archive.write_out(pathlib.Path(scratch) / "model", verbose=False)
        loaded = tf.saved_model.load(pathlib.Path(scratch) / "model")
    # The function alone does not keep the model's variables alive.
    return lambda regions: loaded.serve(regions)


def compare_with_documentation(captioner, write, quick: bool):
    """Ours without XLA against a loop that computes the whole prefix anew."""
    for name, batch in (("eager", 1), ("graph", DOCUMENTATION_BATCH)):
        regions = draw_regions(batch)
        ours = _call(write, regions)
        predict = build_uncached(captioner)
        if name == "graph":
            predict = tf.function(predict)
        slowly = functools.partial(write_without_cache, predict, regions)
        yield measure.compare(
            f"greedy_against_documentation_{name}_{batch}",
            ours,
            slowly,
            1 if quick else 3,
            batch,
            DOCUMENTATION_TARGET,
            same_tokens(ours(), slowly()),
            PACKAGES,
        )


def build_uncached(captioner):
    """Logits of all positions from all tokens, padded to full length."""

    def predict(regions, token_ids):
        tokens = captioner._embed(token_ids)
        for block in captioner.decoder_blocks:
            tokens = block(tokens, regions, training=False)
        return captioner.output_proj(captioner.decoder_norm(tokens))

    return predict


def write_without_cache(predict, regions) -> np.ndarray:
    """The loop of tutorials: Python calls the model once a word."""
    regions = tf.constant(regions)
    token_ids = np.full((len(regions), NUM_TOKENS + 1), PAD_ID, "int32")
    token_ids[:, 0] = START_ID
    for position in range(NUM_TOKENS):
        logits = predict(regions, tf.constant(token_ids[:, :-1]))
        token_ids[:, position + 1] = np.argmax(logits[:, position], axis=-1)
    return token_ids[:, 1:]


def same_tokens(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether both wrote the same, token for token."""
    return ours.shape == theirs.shape and bool((ours == theirs).all())


def _call(write, regions):
    regions = tf.constant(regions)
    return lambda: write(regions).numpy()


if __name__ == "__main__":
    sys.exit(main())
