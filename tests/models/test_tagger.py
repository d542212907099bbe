import numpy as np
import pytest

from tests import checks
from tf_prompt.models.tagger import Tagger


def build(**changes):
    arguments = dict(num_modifiers=3, encoder="conv", image_size=32)
    arguments |= dict(conv_filters=(8, 16), width=8, num_heads=2, hidden_dim=16)
    return Tagger(**{**arguments, "dropout_rate": 0.0, **changes})


def test_tagger_is_a_sound_model(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    model = build()
    checks.check_model(model, images, tmp_path)
    found = model(images)
    assert found.shape == (2, 3)
    regions = {"regions": model.extract_regions(images)}
    np.testing.assert_allclose(model(regions), found, atol=1e-6)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="must divide"):
        build(num_heads=3)
