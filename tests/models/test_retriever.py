import keras
import numpy as np
import pytest

from tests import checks
from tf_prompt.models.frozen_encoder import correlate
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


def cosine(pair):
    return pair[0] @ pair[1] / np.prod(np.linalg.norm(pair, axis=1))


def test_products_add_both_cosines(small):
    features = np.random.default_rng(1).normal(size=(2, 16)).astype("float32")
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    first, second = small.extend(features).numpy()
    words = small.text_proj(features).numpy()
    expected = cosine(features) + 0.05 * cosine(words)
    assert first @ second == pytest.approx(expected, abs=1e-6)


@pytest.fixture(scope="module")
def styled():
    return Retriever(
        "efficientnet_lite0", 64, text_dim=4, style_stage="P3", style_weight=0.3
    )


def test_style_is_of_an_earlier_stage_of_the_same_network(styled, tmp_path):
    checks.check_config(styled)
    assert styled.style_dim == 820 and styled.vector_dim == 1280 + 4 + 820
    assert not styled.trainable_weights
    styled.style_proj.set_weights([2 * np.eye(820), np.arange(820)])
    styled.text_proj.set_weights([np.ones((1280, 4)), np.ones(4)])
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    features, style = (part.numpy() for part in styled.extract_both(images))
    wanted = styled.extract_features(images).numpy()
    np.testing.assert_allclose(features, wanted, rtol=1e-4, atol=1e-5)
    first, second = styled(images).numpy()
    style, words = 2 * style + np.arange(820), np.ones((2, 4))
    expected = cosine(features) + 0.05 * cosine(words) + 0.3 * cosine(style)
    assert first @ second == pytest.approx(expected, abs=1e-5)
    styled.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(images)[0], first, atol=1e-5)


def test_style_is_which_channels_are_active_together():
    # Two places: the channels (1, 0) and (3, -2).
    maps = np.array([[[[1, 0], [3, -2]]]], np.float32)
    # Means of 1 and 9, of 0 and -6, of 0 and 4; their square roots.
    wanted = [[5**0.5, -(3**0.5), 2**0.5]]
    np.testing.assert_allclose(correlate(maps), wanted, rtol=1e-6)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="must not be negative"):
        Retriever("conv", 32, conv_filters=(8,), text_weight=-1)
    with pytest.raises(ValueError, match="must be a word"):
        Retriever("conv", 32, conv_filters=(8,), separator="in the style of")
    with pytest.raises(ValueError, match="must be one of P1, .*Received: P9"):
        with keras.StatelessScope(initialize_variables=False):
            Retriever("efficientnet_lite0", 64, style_stage="P9")


def test_an_encoder_without_narrow_stages_gives_no_style():
    for encoder in ("conv", "resnet50"):
        # Shapes alone: no weight is drawn.
        with keras.StatelessScope(initialize_variables=False):
            model = Retriever(
                encoder, 32, conv_filters=(8,), style_stage="P3", style_weight=0.4
            )
        assert model.style_dim == 0 and model.squared_length == 1.05
