"""Models as graphs against the same computed outside of TensorFlow."""

import numpy as np
import pytest
import tensorflow as tf

from tests.inference.test_graph_embedder import embedder  # noqa: F401  a fixture
from tf_prompt.data.vectors import nearest_rows
from tf_prompt.inference import table
from tf_prompt.inference.embedding_models import EnsembleModel, RegressorModel
from tf_prompt.inference.interrogator import InterrogatorModel
from tf_prompt.inference.model import PromptModel
from tf_prompt.inference.neighbour_index import NeighbourIndex
from tf_prompt.inference.neighbours import NeighbourModel
from tf_prompt.inference.table import Table
from tf_prompt.interrogation import clip_tokens
from tf_prompt.interrogation.config import InterrogationConfig
from tf_prompt.interrogation.interrogator import Interrogator
from tf_prompt.models import presets
from tf_prompt.models.ensemble import Ensemble
from tf_prompt.models.interrogator import CLIPInterrogator

RANDOM = np.random.default_rng(0)
TABLES = {
    "media": ["a photo", "an oil painting", "a sketch"],
    "artists": ["by monet", "by van gogh"],
    "movements": ["baroque", "pop art"],
    "subjects": ["a cat", "a dog", "two birds"],
    "settings": ["on sand", "in a forest"],
    "flavours": ["sharp focus", "dark", "8k", "by night", "in the rain"],
    "lights": ["soft light", "backlit", "neon", "golden hour"],
}


def random_rows(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def test_a_table_finds_what_a_search_finds():
    rows, queries = random_rows(50, 6), random_rows(4, 6)
    texts = [str(n) for n in range(50)]
    found = Table(rows, texts, rows).nearest(queries, 3)
    indices, cosines = nearest_rows(queries, rows, 3)
    np.testing.assert_array_equal(found[0], indices)
    np.testing.assert_allclose(found[1], cosines, atol=1e-5)
    np.testing.assert_array_equal(found[2].numpy().astype(int), indices)
    np.testing.assert_allclose(found[3], rows[indices])


def test_a_table_has_a_limit(monkeypatch):
    monkeypatch.setattr(table, "MAX_TABLE_BYTES", 4 * 50 * 6)
    Table(random_rows(50, 6), ["x"] * 50).require_exportable()
    with pytest.raises(ValueError, match="Received: 1,224 bytes in 51 rows"):
        Table(random_rows(51, 6), ["x"] * 51).require_exportable()


def test_a_table_above_the_limit_finds_the_same(monkeypatch):
    rows, queries = random_rows(50, 6), random_rows(4, 6)
    texts = [str(n) for n in range(50)]
    expected = Table(rows, texts, rows).nearest(queries, 3)
    monkeypatch.setattr(table, "MAX_TABLE_BYTES", 10)
    large = Table(rows, texts, rows)
    found = tf.function(lambda x: large.nearest(x, 3), autograph=False)(queries)
    for value, wanted in zip(found, expected, strict=True):
        if wanted.dtype == tf.string:
            np.testing.assert_array_equal(value, wanted)
        else:
            np.testing.assert_allclose(value, wanted, atol=1e-5)


@pytest.mark.parametrize("k, sharpness", [(1, 0.0), (4, 0.0), (5, 20.0)])
def test_neighbours_are_averaged_as_by_their_index(k, sharpness):
    index = NeighbourIndex(
        random_rows(40, 12).astype(np.float16), random_rows(40, 8), k, sharpness
    )
    pictures = RANDOM.integers(0, 256, (3, 2, 2, 3)).astype(np.uint8)

    base = Pixels(2)
    found = NeighbourModel(base, index).describe(pictures)["embedding"]
    expected = index.predict(base.features(pictures).numpy())
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_embeddings_that_cancel_leave_the_nearest():
    index = NeighbourIndex(
        np.eye(2, 3, dtype=np.float32), np.array([[1, 0], [-1, 0]], np.float32), 2, 0.0
    )
    model = NeighbourModel(Constant(1, [2.0, 1.0, 0.0]), index)
    grey = np.ones((1, 1, 1, 3), np.uint8)
    np.testing.assert_allclose(model.describe(grey)["embedding"], [[1, 0]])


class Pixels(PromptModel):
    """A model whose features are the pixels."""

    def __init__(self, size):
        super().__init__("pixels", [size])

    def _describe(self, images):
        return {"embedding": self._features(images)}

    def _features(self, images):
        size = self.image_size
        pixels = tf.cast(images[size], tf.float32)
        return tf.reshape(pixels, (-1, 3 * size * size)) - 128


class Network:
    """A network that sees one colour and says it in its own way."""

    def __init__(self, size, scale):
        self.image_size, self._scale = size, tf.constant(scale)

    def __call__(self, images, training):
        assert not training
        return tf.cast(images[:, 0, 0], tf.float32) * self._scale

    extract_features = __call__


class Constant(PromptModel):
    """A model of such a network."""

    writes_prompts = False

    def __init__(self, size, scale):
        self._network = Network(size, scale)
        super().__init__("constant", [size])

    def _describe(self, images):
        return {"embedding": self._features(images)}

    def _features(self, images):
        return self._network(images[self.image_size], training=False)


def test_a_regressor_has_unit_length():
    pictures = np.array([[[[3, 4, 0]]], [[[0, 0, 0]]]], np.uint8)
    model = RegressorModel(Network(1, [1.0, 1.0, 9.0]), "regressor")
    found = model.describe(pictures)["embedding"]
    np.testing.assert_allclose(found, [[0.6, 0.8, 0], [0, 0, 0]], atol=1e-6)


def test_an_ensemble_gives_each_model_its_size():
    """By hand: 0.25 (1, 0, 0) + 0.75 (0, 1, 0), at unit length."""
    model = Ensemble(("a", "b"), (0.25, 0.75), embedding_dim=3)
    members = [Constant(1, [1.0, 0.0, 0.0]), Constant(2, [0.0, 1.0, 0.0])]
    ensemble = EnsembleModel(model, members, "ensemble")
    assert ensemble.sizes == (1, 2)
    grey = {size: np.full((1, size, size, 3), 7, np.uint8) for size in (1, 2)}
    found = ensemble.describe(grey)["embedding"]
    np.testing.assert_allclose(found, np.array([[1, 3, 0]]) / 10**0.5, atol=1e-6)


@pytest.fixture(scope="module")
def clip():
    words = {w for phrases in TABLES.values() for p in phrases for w in p.split()}
    tokenizer = clip_tokens.build_tokenizer(dict.fromkeys(["of", *words], 3), 700)
    model = presets.build("clip_interrogator_tiny", vocab_size=700)
    assert isinstance(model, CLIPInterrogator)
    return model, tokenizer


@pytest.mark.parametrize(
    "names, words_only",
    [
        (list(TABLES), False),
        (["media", "subjects", "flavours"], True),
        (["media", "artists"], False),
        (["lights"], True),
    ],
    ids=["all", "two of a scene", "no scene", "flavours alone"],
)
def test_an_interrogator_writes_the_same(clip, embedder, names, words_only, tmp_path):  # noqa: F811
    model, tokenizer = clip
    tokens = clip_tokens.CLIPTokens(tokenizer, model.max_tokens, words_only)
    tables = {name: TABLES[name] for name in names}
    interrogator = Interrogator(
        model,
        tokens,
        tables,
        tmp_path,
        InterrogationConfig(mode="classic"),
        embedder=embedder,
    )
    size = model.image_size
    pictures = RANDOM.integers(0, 256, (5, size, size, 3)).astype(np.uint8)
    found = InterrogatorModel(interrogator, "clip").describe(pictures)
    expected = interrogator(pictures)
    assert [p.decode() for p in found["prompt"].numpy()] == [e.prompt for e in expected]
    np.testing.assert_allclose(
        found["score"], [e.similarity for e in expected], atol=1e-4
    )
    np.testing.assert_allclose(
        found["embedding"], [e.embedding for e in expected], atol=1e-4
    )


def test_another_mode_is_not_exported(clip, embedder, tmp_path):  # noqa: F811
    model, tokenizer = clip
    tokens = clip_tokens.CLIPTokens(tokenizer, model.max_tokens)
    tables = {"media": TABLES["media"]}
    interrogator = Interrogator(
        model,
        tokens,
        tables,
        tmp_path,
        InterrogationConfig(mode="best"),
        embedder=embedder,
    )
    with pytest.raises(ValueError, match="in the mode classic"):
        InterrogatorModel(interrogator, "clip")
