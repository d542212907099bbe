"""Image bytes in, prompt out: one function for evaluation, prediction and export."""

import json
import pathlib
import shutil
import tempfile

import keras
import numpy as np
import tensorflow as tf

from tf_prompt import decoding, images
from tf_prompt.decoding_config import DecodingConfig
from tf_prompt.rules import Rules
from tf_prompt.saved_model import SIGNATURE, SavedPromptWriter
from tf_prompt.text import END_ID, PAD_ID, SPECIAL_TOKENS, START_ID, UNK_ID


class PromptWriter(tf.Module):
    """A captioner with its vocabulary: writes the prompts of pictures.

    Args:
        model: a `Captioner`.
        vocabulary: token of each id.
        options: how to write.
    """

    def __init__(self, model, vocabulary, options=None):
        super().__init__()
        self.options = options = options or DecodingConfig()
        self.rules = Rules(
            (PAD_ID, UNK_ID, START_ID),
            options.min_words,
            options.repetition_penalty,
            options.no_repeat_ngram,
        )
        self.model = model
        self.image_size = model.image_size
        self._tokens = tf.constant(vocabulary)
        self._search = self._search_tokens
        if options.xla:
            # The loop alone: XLA makes ResNet50 slower.
            self._search = tf.function(self._search_tokens, jit_compile=True)
        size = model.image_size
        self.write = tf.function(
            self._write,
            input_signature=[tf.TensorSpec((None, size, size, 3), tf.uint8)],
        )
        self.serve = tf.function(
            self._serve,
            input_signature=[tf.TensorSpec((None,), tf.string, name="image_bytes")],
        )

    def _write(self, pictures):
        """Writes the prompts of decoded pictures.

        Args:
            pictures: uint8 `(batch, image_size, image_size, 3)`.

        Returns:
            dict of `prompt`, string `(batch,)`; `score`, float32 `(batch,)`, mean
            log-probability of the words, 0 at best; `ended`, bool `(batch,)`,
            whether the model ended the prompt by itself.
        """
        token_ids, scores, ended = self._decode(pictures)
        words = tf.ragged.boolean_mask(
            tf.gather(self._tokens, token_ids), token_ids >= len(SPECIAL_TOKENS)
        )
        prompts = tf.strings.reduce_join(words, axis=-1, separator=" ")
        return {"prompt": prompts, "score": scores, "ended": ended}

    def _decode(self, pictures):
        state, memory = self.model.encode(pictures)
        start_ids = tf.fill([tf.shape(pictures)[0]], START_ID)
        return self._search(start_ids, state, memory)

    def _search_tokens(self, start_ids, state, memory):
        """Token ids, scores and ends, each with an image a row."""
        options = self.options
        begin = (self.model.step, state, memory, start_ids, END_ID)
        begin = (*begin, self.model.max_tokens)
        if options.sample:
            cuts = (options.temperature, options.top_k, options.top_p)
            return decoding.sample(*begin, self.draw_uniform, self.rules, *cuts)
        if options.num_beams == 1:
            return decoding.greedy(*begin, self.rules)
        beams = decoding.beam_search(
            *begin, options.num_beams, self.rules, options.length_penalty
        )
        return tuple(found[:, 0] for found in beams)

    def draw_uniform(self, position, shape):
        """Numbers in [0, 1) that depend on seed and position alone."""
        return tf.random.stateless_uniform(shape, [self.options.seed, position])

    def _serve(self, image_bytes):
        """Writes the prompts of encoded images, string `(batch,)`.

        Returns:
            dict of `prompt` and `score` as `write` gives them.
        """
        written = self._write(
            tf.map_fn(
                lambda data: images.decode_image(data, self.image_size),
                image_bytes,
                fn_output_signature=tf.TensorSpec(
                    (self.image_size, self.image_size, 3), tf.uint8
                ),
            )
        )
        return {"prompt": written["prompt"], "score": written["score"]}


def export(writer: PromptWriter, folder: pathlib.Path, assets=()) -> pathlib.Path:
    """Writes the next version of a SavedModel that TF Serving can load.

    The model is written under a temporary name, loaded again and compared with
    the writer; only then it gets its number.

    Args:
        writer: what to export.
        folder: the model's folder; versions are the numbers inside.
        assets: files copied into the SavedModel's `assets`.

    Returns:
        The version's folder.

    Raises:
        ValueError: if the writer needs XLA, which TF Serving turns off, or the
            reloaded model does not give the writer's prompts.
    """
    if writer.options.xla:
        raise ValueError(f"`xla` must be off in an export. Received: {writer.options}")
    folder.mkdir(parents=True, exist_ok=True)
    # In the same folder, so that the last step is one rename.
    temporary = pathlib.Path(tempfile.mkdtemp(prefix=".export-", dir=folder))
    try:
        archive = keras.export.ExportArchive()
        archive.track(writer.model)
        archive.add_endpoint(SIGNATURE, writer.serve)
        archive.write_out(temporary / "model", verbose=False)
        (temporary / "model" / "assets").mkdir(exist_ok=True)
        for asset in assets:
            shutil.copy2(asset, temporary / "model" / "assets")
        _check_export(writer, temporary / "model")
        version = 1 + max(list_versions(folder), default=0)
        (temporary / "model").rename(folder / str(version))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder / str(version)


def list_versions(folder: pathlib.Path) -> list[int]:
    """Lists the numbers of a model's versions in order."""
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


def _check_export(writer: PromptWriter, path: pathlib.Path) -> None:
    size = writer.image_size
    noise = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    image_bytes = [tf.io.encode_png(picture).numpy() for picture in noise]
    expected = writer.serve(tf.constant(image_bytes))
    found = SavedPromptWriter(path)(image_bytes)
    same = (expected["prompt"].numpy() == found["prompt"]).all()
    if not same or not np.allclose(expected["score"], found["score"], atol=1e-4):
        difference = {"expected": str(expected), "found": str(found)}
        raise ValueError(
            f"a reloaded SavedModel must give the model's prompts. "
            f"Received: {json.dumps(difference)}"
        )
