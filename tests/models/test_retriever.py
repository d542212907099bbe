import keras
import numpy as np
import pytest

from tests import checks
from tf_prompt.models.retriever import Retriever


@pytest.fixture
def small():
    model = Retriever("conv", 32, conv_filters=(8, 16), text_dim=4)
    model.text_proj.set_weights([np.random.normal(size=(16, 4)), np.ones(4)])
    return model


def test_retriever_is_saved_with_its_map(small, tmp_path):
    checks.check_config(small)
    assert not small.trainable_weights
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    found = small(images).numpy()
    assert found.shape == (3, 20)
    small.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(images), found, atol=1e-6)


def test_products_add_both_cosines(small):
    features = np.random.default_rng(1).normal(size=(2, 16)).astype("float32")
    words = np.random.default_rng(2).normal(size=(2, 4)).astype("float32")
    first, second = small.join(features, words).numpy()

    def cosine(pair):
        return pair[0] @ pair[1] / np.prod(np.linalg.norm(pair, axis=1))

    expected = cosine(features) + 0.05 * cosine(words)
    assert first @ second == pytest.approx(expected, abs=1e-6)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="must not be negative"):
        Retriever("conv", 32, conv_filters=(8,), text_weight=-1)
    with pytest.raises(ValueError, match="must be a word"):
        Retriever("conv", 32, conv_filters=(8,), separator="in the style of")
