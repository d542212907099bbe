"""The signatures of a SavedModel and their inputs."""

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

# Output that is 0 instead of NaN for a broken image.
_ZERO = "weights"


class Servable:
    """A model with its serving signatures.

    For every model, `serving_default` takes `image_bytes`, string `(batch,)`, and
    returns `prompt` and `score` or, for models that predict them, `embedding`,
    float32 `(batch, 384)`, with prompt and score if the model or a bank has them. The
    model's `endpoints` take `image_bytes` too. If the model accepts pixels, `pixels`
    takes uint8 `(batch, image_size, image_size, 3)` and returns the same outputs. For
    a broken image, texts are empty, numbers NaN, and attention weights 0.

    Args:
        model: the model to serve.

    Attributes:
        image_size: side of the largest input images, pixels.
        signatures: dict from name to a `tf.function` with one named input of unknown
            batch size; it returns a dict of tensors whose first axis is the batch.

    Raises:
        ValueError: if the model cannot be exported.
    """

    def __init__(self, model: PromptModel):
        model.require_exportable()
        self._sizes, self.image_size = model.sizes, model.image_size
        # A separate function, so that the SavedModel contains it only once.
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
    """Loads a run's model for export; reports on stderr what is left out.

    Args:
        run: the run.
        options: `export.ExportConfig`.

    Returns:
        `Servable`.

    Raises:
        FileNotFoundError: if a file of the run, or the bank, is missing.
        ValueError: if the model cannot be exported.
    """
    loader, beams = Loader(), options.num_beams
    try:
        model = loader.load_run(run, embeds=options.embed, num_beams=beams)
    except EmbedderMissing as error:
        model = loader.load_run(run, embeds=False, num_beams=beams)
        _tell_missing_embed(error)
    else:
        if options.embed and model.embeds and not model.embeds_in_graph:
            _tell_missing_embed("MiniLM's tokens of subwords are not known in a graph")
    if options.int8:
        model.quantize()
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


def _tell_missing_embed(reason) -> None:
    print(f"the signature `embed` is left out: {reason}", file=sys.stderr)


def _blank(sound, name, value):
    if name == _ZERO:
        shape = (-1, *[1] * (value.shape.rank - 1))
        return tf.where(tf.reshape(sound, shape), value, 0.0)
    (blanked,) = image_codec.blank(sound, value)
    return blanked


def _of_bytes(function):
    spec = tf.TensorSpec((None,), tf.string, name="image_bytes")
    return compile_function(function, [spec])
