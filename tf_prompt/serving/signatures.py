"""What a SavedModel offers: the signatures of a model, and what goes into them."""

import sys
from collections.abc import Callable

import tensorflow as tf

from tf_prompt.data import images as image_codec
from tf_prompt.data.graphs import compile_function
from tf_prompt.inference.embedding_models import BankedModel
from tf_prompt.inference.loading import Loader
from tf_prompt.inference.model import PromptModel
from tf_prompt.inference.table import MAX_TABLE_BYTES
from tf_prompt.metrics.prompt_embedder import EMBEDDING_DIM, EmbedderMissing
from tf_prompt.runs.run import Run
from tf_prompt.serving.saved_model import SIGNATURE

# What a broken image gets in place of NaN: where it was looked at, all is 0.
_ZERO = "weights"


class Servable:
    """A model and its signatures.

    Of any model `serving_default` takes `image_bytes` and gives what the model
    answers: `prompt` and `score`, or `embedding`, float32 `(batch, 384)`, and these
    where the model or a bank has them. Its `endpoints` take `image_bytes` too. One
    that takes pixels has `pixels` besides: uint8 `(batch, image_size, image_size,
    3)` in, the same answer out. Of a broken image texts are empty and numbers NaN,
    attention's weights 0.

    Args:
        model: what to serve.

    Attributes:
        image_size: pixels a side of the largest pictures that it looks at.
        signatures: by name, a `tf.function` with an input signature whose one input
            has a name and an unknown batch size; it gives a dict of tensors whose
            first axis is the batch.

    Raises:
        ValueError: if the model cannot be exported.
    """

    def __init__(self, model: PromptModel):
        model.require_exportable()
        self._sizes, self.image_size = model.sizes, model.image_size
        # A function of its own, so that a SavedModel holds it once.
        self._open = _of_bytes(lambda data: image_codec.decode_batch(data, self._sizes))
        self.signatures: dict[str, Callable] = {SIGNATURE: model.serve}
        for name, function in model.endpoints().items():
            self.signatures[name] = _of_bytes(self._blanked(function))
        if model.takes_pixels:
            size = self.image_size
            spec = tf.TensorSpec((None, size, size, 3), tf.uint8, name="pixels")
            self.signatures["pixels"] = compile_function(
                lambda pixels: model.answer({size: pixels}), [spec]
            )

    def _blanked(self, function):
        def of_bytes(image_bytes):
            decoded, sound = self._open(image_bytes)
            found = function(dict(zip(self._sizes, decoded, strict=True)))
            return {name: _blank(sound, name, value) for name, value in found.items()}

        return of_bytes


def load_servable(run: Run, options) -> Servable:
    """Loads what is to be exported; says on stderr what is left out.

    Args:
        run: whose model.
        options: `export.ExportConfig`.

    Raises:
        FileNotFoundError: if a part of the run, or the bank, is missing.
        ValueError: if the model cannot be exported.
    """
    loader, beams = Loader(), options.num_beams
    try:
        model = loader.load_run(run, embeds=options.embed, num_beams=beams)
    except EmbedderMissing as error:
        model = loader.load_run(run, embeds=False, num_beams=beams)
        print(f"the signature `embed` is left out: {error}", file=sys.stderr)
    if model.writes_prompts and options.bank is not None:
        raise ValueError(
            f"bank must be left out with preset {run.preset}. Received: {options.bank}"
        )
    if not model.writes_prompts:
        bank = loader.find_bank(run, options.bank)
        most = MAX_TABLE_BYTES // (4 * EMBEDDING_DIM)
        if options.bank is not None or len(bank.prompts) <= most:
            model = BankedModel(model, bank)
        else:
            print(
                f"prompt and score are left out: the {len(bank.prompts):,} training "
                f"prompts are more than {most:,}; give fewer with --bank",
                file=sys.stderr,
            )
    return Servable(model)


def _blank(sound, name, value):
    if name == _ZERO:
        shape = (-1, *[1] * (value.shape.rank - 1))
        return tf.where(tf.reshape(sound, shape), value, 0.0)
    (blanked,) = image_codec.blank(sound, value)
    return blanked


def _of_bytes(function):
    spec = tf.TensorSpec((None,), tf.string, name="image_bytes")
    return compile_function(function, [spec])
