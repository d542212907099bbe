"""The table of presets: model classes with their arguments, by name.

The `base` captioners are Kalisz's models, for which he reports BLEU 1.1, METEOR 8.1,
BERTScore 44.1 (LSTM, 27 epochs) and 5.0, 14.1, 51.6 (Transformer, 71 epochs) after
training on 975,000 images of DiffusionDB. The `tiny` ones have the same parts and
train in minutes on two CPU cores; so does `small`, on real images, with a frozen
encoder whose features are cached.
"""

import dataclasses
import inspect

from tf_prompt.models import language_presets
from tf_prompt.models.captioner import Captioner
from tf_prompt.models.ensemble import Ensemble
from tf_prompt.models.interrogator import CLIPInterrogator
from tf_prompt.models.language import LanguageCaptioner
from tf_prompt.models.linear_tagger import LinearTagger
from tf_prompt.models.lstm import LSTMCaptioner
from tf_prompt.models.reader import ReadingCaptioner
from tf_prompt.models.regressor import EmbeddingRegressor
from tf_prompt.models.retriever import Retriever
from tf_prompt.models.tagger import Tagger
from tf_prompt.models.transformer import TransformerCaptioner

_BASE = {"vocab_size": 46664, "image_size": 224, "encoder": "resnet50"}
_TINY = {
    "vocab_size": 512,
    "image_size": 96,
    "encoder": "conv",
    "conv_filters": (32, 64, 128),
    "embedding_dim": 128,
}
_SMALL = {
    **_BASE,
    "encoder": "efficientnet_lite0",
    "embedding_dim": 256,
    # A block over regions of width 1280 costs as much as all the rest. On 6,439 real
    # images, 12 epochs, one seed: best validation loss 2.23 with it, 2.26 without;
    # last token accuracy 68.3 and 69.0 %.
    "num_encoder_layers": 0,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "head_dim": 32,
    "decoder_hidden_dim": 512,
    "dropout_rate": 0.2,
}
_TINY_REGRESSOR = {"image_size": 96, "hidden_dims": (256, 256), "dropout_rate": 0.1}

PRESETS = {
    "lstm_base": (
        LSTMCaptioner,
        {
            **_BASE,
            "embedding_dim": 512,
            "units": 512,
            "attention_units": 256,
            "dropout_rate": 0.5,
        },
    ),
    "transformer_base": (
        TransformerCaptioner,
        {
            **_BASE,
            "embedding_dim": 512,
            "num_encoder_layers": 2,
            "num_decoder_layers": 2,
            "num_heads": 4,
            "head_dim": 16,
            "encoder_hidden_dim": 8192,
            "decoder_hidden_dim": 2048,
            "dropout_rate": 0.1,
        },
    ),
    "transformer_small": (TransformerCaptioner, _SMALL),
    "reader_small": (ReadingCaptioner, {**_SMALL, "index_size": 1000}),
    "lstm_tiny": (
        LSTMCaptioner,
        {**_TINY, "units": 256, "attention_units": 128, "dropout_rate": 0.0},
    ),
    "transformer_tiny": (
        TransformerCaptioner,
        {
            **_TINY,
            "num_encoder_layers": 1,
            "num_decoder_layers": 2,
            "num_heads": 4,
            "head_dim": 16,
            "encoder_hidden_dim": 256,
            "decoder_hidden_dim": 256,
            "dropout_rate": 0.0,
        },
    ),
    "vit_regressor_base": (
        EmbeddingRegressor,
        {"backbone": "vit_base", "image_size": 224},
    ),
    "resnet_regressor_base": (
        EmbeddingRegressor,
        {"backbone": "resnet50", "image_size": 224},
    ),
    "vit_regressor_tiny": (
        EmbeddingRegressor,
        {"backbone": "vit_tiny", **_TINY_REGRESSOR},
    ),
    "resnet_regressor_tiny": (
        EmbeddingRegressor,
        {"backbone": "resnet_tiny", **_TINY_REGRESSOR},
    ),
    "retrieval_small": (
        Retriever,
        {
            "encoder": "efficientnet_lite0",
            "image_size": 224,
            "style_stage": "P3",
            "style_weight": 0.4,
        },
    ),
    "retrieval_tiny": (
        Retriever,
        {
            "encoder": "conv",
            "conv_filters": _TINY["conv_filters"],
            "image_size": _TINY["image_size"],
        },
    ),
    "tagger_small": (
        LinearTagger,
        {
            "num_modifiers": 1000,
            "encoder": "efficientnet_lite0",
            "image_size": 224,
            "style_stage": "P3",
            "style_weight": 0.4,
        },
    ),
    "tagger_base": (
        Tagger,
        {
            "num_modifiers": 1000,
            "encoder": "efficientnet_lite0",
            "image_size": 224,
            "width": 256,
            "num_heads": 8,
            "hidden_dim": 1024,
            "dropout_rate": 0.2,
        },
    ),
    "tagger_tiny": (
        Tagger,
        {
            "num_modifiers": 64,
            "encoder": "conv",
            "conv_filters": _TINY["conv_filters"],
            "image_size": _TINY["image_size"],
            "width": 64,
            "num_heads": 4,
            "hidden_dim": 128,
            "dropout_rate": 0.0,
        },
    ),
    "clip_interrogator_base": (CLIPInterrogator, {"clip": "base", "image_size": 224}),
    "clip_interrogator_tiny": (CLIPInterrogator, {"clip": "tiny", "image_size": 96}),
    "ensemble_base": (
        Ensemble,
        {
            "members": ("clip_interrogator_base", "vit_regressor_base"),
            "member_weights": (0.25, 0.75),
        },
    ),
    "ensemble_tiny": (
        Ensemble,
        {
            "members": ("clip_interrogator_tiny", "vit_regressor_tiny"),
            "member_weights": (0.25, 0.75),
        },
    ),
    **language_presets.PRESETS,
}


@dataclasses.dataclass(frozen=True)
class Facts:
    """Facts about a kind of model.

    Args:
        outputs: its inputs and outputs, in words.
        task: name of the task on hubs.
        verbs: commands that accept its runs, besides `evaluate`.
    """

    outputs: str
    task: str
    verbs: tuple[str, ...]


_TAGGER = Facts(
    "It takes an image and writes the modifiers whose probability is above a "
    "threshold, most probable first; the score is the mean probability.",
    "image-classification",
    ("predict", "export"),
)
_FACTS = {
    Captioner: Facts(
        "It takes an image and writes a prompt with its score: the mean "
        "log-probability of the words, at most 0.",
        "image-to-text",
        ("predict", "export"),
    ),
    LanguageCaptioner: Facts(
        "It takes an image and writes a prompt with its score: the mean "
        "log-probability of the tokens, at most 0.",
        "image-to-text",
        ("predict", "export"),
    ),
    EmbeddingRegressor: Facts(
        "It takes an image and predicts the all-MiniLM-L6-v2 embedding of its prompt, "
        "384 numbers; `predict` writes the nearest training prompt.",
        "image-feature-extraction",
        ("predict", "submit", "export"),
    ),
    Retriever: Facts(
        "It takes an image, finds the nearest training images, and writes the one of "
        "their prompts that agrees most with all of them, or its beginning and an "
        "ending that fits the image; the score is its expected BLEU, 0 to 1.",
        "image-to-text",
        ("predict", "export"),
    ),
    Tagger: _TAGGER,
    LinearTagger: _TAGGER,
    CLIPInterrogator: Facts(
        "It takes an image and texts and ranks the texts by CLIP's similarity with the "
        "image.",
        "zero-shot-image-classification",
        ("interrogate", "predict", "submit", "export"),
    ),
    Ensemble: Facts(
        "It takes the embeddings that other runs predict for an image and combines "
        "them into one of 384 numbers.",
        "image-feature-extraction",
        ("predict", "submit", "export"),
    ),
}


def names() -> list[str]:
    """Lists the presets."""
    return sorted(PRESETS)


def facts(name: str) -> Facts:
    """Returns the facts about a preset's model.

    Raises:
        ValueError: for an unknown name; the message lists the valid ones.
    """
    check(name, {})
    return next(_FACTS[c] for c in PRESETS[name][0].__mro__ if c in _FACTS)


def build(name: str, **overrides):
    """Builds a preset's model with random weights.

    Args:
        name: one of `tf_prompt.models.presets.names()`.
        **overrides: constructor arguments that replace the preset's.

    Returns:
        A built Keras model.

    Raises:
        ValueError: for an unknown name or argument; the message lists the valid ones.

    Example:

    >>> model = tf_prompt.build("lstm_tiny", image_size=32, vocab_size=100)
    >>> model.vocab_size
    100
    """
    check(name, overrides)
    model_class, arguments = PRESETS[name]
    return model_class(**{**arguments, **overrides})


def check(name: str, overrides) -> None:
    """Checks a preset's name and the names of arguments, without building a model.

    Args:
        name: name of the preset.
        overrides: iterable of argument names, such as the dict for `build`.

    Raises:
        ValueError: for an unknown name or argument; the message lists the valid ones.
    """
    if name not in PRESETS:
        raise ValueError(
            f"preset must be one of {', '.join(names())}. Received: {name}"
        )
    parents = PRESETS[name][0].__mro__
    classes = [c for c in parents if c.__module__.startswith("tf_prompt")]
    parameters = {p for c in classes for p in inspect.signature(c.__init__).parameters}
    valid = sorted(parameters - {"self", "kwargs"})
    for argument in overrides:
        if argument not in valid:
            raise ValueError(
                f"a setting of {name} must be one of {', '.join(valid)}. "
                f"Received: {argument}"
            )
