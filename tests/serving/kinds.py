"""A small model of every kind, with random weights: what an export holds, untrained."""

import numpy as np
import tensorflow as tf

from tf_prompt.data.text import SPECIAL_TOKENS
from tf_prompt.data.vocabulary import WordVocabulary, build_subwords
from tf_prompt.inference.bank import PromptBank
from tf_prompt.inference.captioner import CaptionerModel
from tf_prompt.inference.embedding_models import (
    BankedModel,
    EnsembleModel,
    RegressorModel,
)
from tf_prompt.inference.endings import Endings
from tf_prompt.inference.interrogator import MODE, InterrogatorModel
from tf_prompt.inference.neighbour_index import NeighbourIndex
from tf_prompt.inference.neighbours import NeighbourModel
from tf_prompt.inference.retrieval import RetrievalIndex, RetrievalModel
from tf_prompt.inference.tagger import TaggerModel
from tf_prompt.interrogation import clip_tokens
from tf_prompt.interrogation.config import InterrogationConfig
from tf_prompt.interrogation.interrogator import Interrogator
from tf_prompt.models import presets

TABLES = {
    "media": ["a photo", "an oil painting"],
    "artists": ["by monet", "by greg rutkowski"],
    "subjects": ["a cat", "a castle", "two dogs"],
    "settings": ["on sand", "at night"],
    "flavours": ["highly detailed", "8k", "soft light", "matte"],
}
PROMPTS = ["A castle at night, 8k", "two dogs, by monet", "Ærø, détail ☕", "a red cat"]
WORDS = "a castle at night two dogs by monet red cat matte light".split()
_SMALL = {"image_size": 32, "conv_filters": (8, 16)}
_CAPTIONER = {**_SMALL, "embedding_dim": 16, "max_tokens": 7}


def build_all(embedder, cache_dir) -> dict:
    """Builds a model of each kind.

    Args:
        embedder: MiniLM.
        cache_dir: folder for the embeddings of phrases.

    Returns:
        By name, what `Servable` takes; images are of several sizes.
    """
    random = np.random.default_rng(0)
    vectors = random.normal(size=(len(PROMPTS), 384)).astype(np.float32)
    bank = PromptBank(PROMPTS, vectors)
    resnet = _build_regressor("resnet_regressor_tiny", 32)
    transformer = _build_captioner("transformer_tiny", _words(), embedder)
    features = random.normal(size=(12, 256)).astype(np.float16)
    index = NeighbourIndex(features, np.tile(vectors, (3, 1)))
    vit = _build_regressor("vit_regressor_tiny", 48)
    members = [vit, transformer, NeighbourModel(resnet, index)]
    ensemble = presets.build(
        "ensemble_tiny", members=("a", "b", "c"), member_weights=None
    )
    return {
        "transformer": transformer,
        "subwords": _build_captioner("lstm_tiny", build_subwords(PROMPTS, 300)),
        "resnet": BankedModel(resnet, bank),
        "clip": _build_interrogator(embedder, cache_dir),
        "ensemble": BankedModel(EnsembleModel(ensemble, members, "ensemble"), bank),
        "retrieval": _build_retrieval(random),
        "tagger": _build_tagger(),
    }


def _words():
    return WordVocabulary([*SPECIAL_TOKENS, *WORDS])


def _build_captioner(name, vocabulary, embedder=None):
    sizes = {
        "transformer_tiny": {"num_encoder_layers": 1, "num_decoder_layers": 1},
        "lstm_tiny": {"units": 16, "attention_units": 8},
    }[name]
    network = presets.build(name, **_CAPTIONER, **sizes, vocab_size=len(vocabulary))
    # Wide weights, so that pictures get different prompts.
    kernel = network.output_proj.kernel
    kernel.assign(tf.random.stateless_normal(kernel.shape, [1, 2]))
    return CaptionerModel(network, vocabulary, embedder=embedder)


def _build_regressor(name, image_size):
    network = presets.build(name, image_size=image_size, hidden_dims=(16,))
    return RegressorModel(network, name)


def _build_interrogator(embedder, cache_dir):
    counts = {word: 1 for table in TABLES.values() for p in table for word in p.split()}
    tokenizer = clip_tokens.build_tokenizer(counts, 600)
    network = presets.build(
        "clip_interrogator_tiny", vocab_size=tokenizer.vocabulary_size()
    )
    interrogator = Interrogator(
        network,
        clip_tokens.CLIPTokens(tokenizer, network.max_tokens),
        TABLES,
        cache_dir,
        InterrogationConfig(mode=MODE),
        embedder=embedder,
    )
    return InterrogatorModel(interrogator, "clip_interrogator_tiny")


def _build_retrieval(random):
    network = presets.build("retrieval_tiny", **_SMALL, text_dim=8, separator="by")
    rows = random.normal(size=(12, 16 + 8)).astype(np.float16)
    prompts = [" ".join(random.choice(WORDS, 5)) for _ in rows]
    means, fits = (random.normal(size=(n, 16)).astype(np.float32) for n in (2, 3))
    endings = Endings(["a red castle by"], means, ["monet", "a cat", "night"], fits)
    index = RetrievalIndex(rows, prompts, endings)
    return RetrievalModel(network, index, "retrieval_tiny")


def _build_tagger():
    sizes = {"num_modifiers": len(WORDS), "width": 16, "hidden_dim": 16}
    network = presets.build("tagger_tiny", **_SMALL, **sizes)
    return TaggerModel(network, WORDS, "tagger_tiny")
