import math

import keras
import numpy as np
import pytest

from tests import checks
from tf_prompt.models import backbones, presets


def pictures(size=96):
    return np.random.default_rng(0).uniform(0, 255, (2, size, size, 3)).astype("f4")


def shallow(name):
    """A backbone by name; a vision transformer of one block."""
    description = backbones.describe_backbone(name, 96)
    if "num_layers" in description["arguments"]:
        description["arguments"]["num_layers"] = 1
    return description


@pytest.mark.parametrize("name", ["vit_regressor_tiny", "resnet_regressor_tiny"])
def test_tiny_regressors(name, tmp_path):
    backbone = shallow(name.replace("_regressor", ""))
    model = presets.build(name, backbone=backbone, dropout_rate=0.0)
    assert model(pictures()).shape == (2, 384)
    checks.check_model(model, pictures(), tmp_path)


# The head of the report, row by row, on a backbone 768 or 2048 wide.
@pytest.mark.parametrize(
    "name, backbone, width",
    [
        # ViT-B/16 of Dosovitskiy et al. without its classifier.
        ("vit_regressor_base", 85_798_656, 768),
        # ResNet50 as in the captioners, with batch-norm statistics.
        ("resnet_regressor_base", 23_508_032 + 53_120, 2048),
    ],
)
def test_base_regressors_have_the_heads_of_the_report(name, backbone, width):
    # Shapes alone: no weight is drawn.
    with keras.StatelessScope(initialize_variables=False):
        model = presets.build(name)
    layers = [model.image_backbone, *model.hidden, model.output_proj]
    counts = [sum(math.prod(w.shape) for w in layer.weights) for layer in layers]
    head = [(width, 1024), (1024, 512), (512, 384)]
    assert counts == [backbone, *(n * m + m for n, m in head)]
    assert model.count_params() == sum(counts)
    assert model.dropout.rate == 0.5
    assert model.image_size == 224


def test_head_is_dense_dropout_gelu():
    sizes = {"hidden_dims": (4,), "embedding_dim": 2, "backbone": shallow("vit_tiny")}
    model = presets.build("vit_regressor_tiny", **sizes)
    features = np.asarray(model.extract_features(pictures()))
    (kernel, bias), (out_kernel, out_bias) = (
        [np.asarray(w) for w in layer.weights]
        for layer in (model.hidden[0], model.output_proj)
    )
    x = features @ kernel + bias
    # Hendrycks and Gimpel, 2016: x times the normal distribution function.
    gelu = x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    np.testing.assert_allclose(
        model(pictures()), gelu @ out_kernel + out_bias, rtol=1e-4, atol=1e-5
    )


def test_backbone_by_name():
    model = presets.build("vit_regressor_tiny", backbone="resnet_tiny")
    assert model.backbone["class_name"] == "ResNetBackbone"


def test_settings_are_checked():
    with pytest.raises(ValueError, match="a setting of vit_regressor_tiny must be one"):
        presets.build("vit_regressor_tiny", vocab_size=3)
