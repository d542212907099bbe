import keras
import numpy as np
import pytest

from tests import checks
from tf_prompt.models.frozen_encoder import to_unit
from tf_prompt.models.linear_tagger import LinearTagger


@pytest.fixture(scope="module")
def styled():
    model = LinearTagger(
        3, "efficientnet_lite0", 64, style_stage="P3", style_weight=0.4
    )
    generator = np.random.default_rng(0)
    model.style_proj.set_weights([2 * np.eye(820), np.arange(820)])
    model.head.set_weights([generator.normal(0, 0.3, (2100, 3)), np.array([0.5, 0, 9])])
    return model


def test_probabilities_are_linear_in_features_and_style(styled):
    assert not styled.trainable_weights
    images = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3), np.uint8)
    features, style = styled.extract_both(images)
    seen = [to_unit(features), to_unit(2 * style + np.arange(820))]
    kernel, bias = styled.head.get_weights()
    wanted = np.concatenate(seen, axis=1) @ kernel + bias
    found = keras.ops.sigmoid(styled(images)).numpy()
    np.testing.assert_allclose(found, np.clip(wanted, 1e-6, 1 - 1e-6), atol=1e-5)
    assert found[:, 2] == pytest.approx(1, abs=1e-5)


def test_it_is_saved_with_its_head_and_threshold(styled, tmp_path):
    checks.check_config(styled)
    styled.threshold = 0.05
    images = np.random.default_rng(2).integers(0, 256, (2, 64, 64, 3), np.uint8)
    styled.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.threshold == 0.05
    np.testing.assert_allclose(loaded(images), styled(images), atol=1e-5)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="`style_weight` must not be neg.*ved: -1"):
        LinearTagger(3, "conv", 32, conv_filters=(8,), style_weight=-1)
    with pytest.raises(ValueError, match="num_modifiers"):
        LinearTagger(0, "conv", 32, conv_filters=(8,))
