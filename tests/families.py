"""A tiny folder of each family of image backbones, as users have large ones."""

import dataclasses
import functools

import keras_hub
import numpy as np

from tf_prompt.models import pretrained

SIZE = 32
_SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": SIZE,
    "patch_size": 8,
}
_TEXT = {
    **{k: v for k, v in _SIZES.items() if k not in ("image_size", "patch_size")},
    **{"vocab_size": 64, "max_position_embeddings": 16},
    **{"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1},
}


@dataclasses.dataclass(frozen=True)
class Family:
    """A folder, and what its regions must be.

    Args:
        path: the folder.
        size: pixels a side that it was made for.
        regions: function of scaled pixels `(batch, size, size, 3)` to true regions
            `(batch, regions, depth)`, those of another implementation where there is.
    """

    path: str
    size: int
    regions: object


def make(name, folder) -> Family:
    """Writes the folder of a family; one of `NAMES`."""
    if name in _TRANSFORMERS:
        return _make_transformers(name, folder)
    return _make_preset(name, folder)


def open_keras(family: Family):
    """KerasHub's own image network of the folder, weights included."""
    return pretrained.open_network(family.path, "it must be there")


def keras_network(family: Family) -> list:
    """Weights of `open_keras`."""
    return open_keras(family).get_weights()


def _make_transformers(name, folder):
    import torch
    import transformers

    torch.manual_seed(0)
    class_name, config_name, arguments, prefix = _TRANSFORMERS[name]
    config = getattr(transformers, config_name)(**arguments)
    model = getattr(transformers, class_name)(config).eval()
    # Positions and registers begin at zero: they must count.
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if "position" in key or "token" in key:
                weight.normal_(std=0.5)
    model.save_pretrained(folder)

    def run(pixels):
        pixels = torch.tensor(np.float32(pixels).transpose(0, 3, 1, 2))
        part = getattr(model, _PART[name]) if name in _PART else model
        with torch.no_grad():
            tokens = part(pixels).last_hidden_state
            if name == "clip":
                # KerasHub's vision encoder ends with it.
                tokens = part.post_layernorm(tokens)
        return tokens[:, prefix:].numpy()

    return Family(str(folder), config_size(name), run)


def config_size(name):
    return 28 if name.startswith("dinov2") else SIZE


# Class and config of transformers, arguments, tokens before those of patches.
_DINO = {**_SIZES, "mlp_ratio": 2, "image_size": 28, "patch_size": 14}
_TRANSFORMERS = {
    "vit": ("ViTForImageClassification", "ViTConfig", _SIZES, 1),
    "deit": ("DeiTForImageClassificationWithTeacher", "DeiTConfig", _SIZES, 2),
    "clip": ("CLIPModel", "CLIPConfig", {}, 1),
    "metaclip_2": ("MetaClip2Model", "MetaClip2Config", {}, 1),
    "dinov2": ("Dinov2Model", "Dinov2Config", _DINO, 1),
    "dinov2_registers": (
        "Dinov2WithRegistersModel",
        "Dinov2WithRegistersConfig",
        {**_DINO, "num_register_tokens": 2},
        3,
    ),
    "dinov3": (
        "DINOv3ViTModel",
        "DINOv3ViTConfig",
        {**_SIZES, "num_register_tokens": 4},
        5,
    ),
    "swin": (
        "SwinModel",
        "SwinConfig",
        {
            **{"image_size": SIZE, "patch_size": 4, "embed_dim": 8},
            **{"depths": [1, 1], "num_heads": [1, 2], "window_size": 4},
        },
        0,
    ),
}
for _name in ("clip", "metaclip_2"):
    _TRANSFORMERS[_name][2].update(
        text_config=_TEXT, vision_config=_SIZES, projection_dim=8
    )
_PART = {
    **{"vit": "vit", "deit": "deit"},
    **{"clip": "vision_model", "metaclip_2": "vision_model"},
}


def _make_preset(name, folder):
    network, regions = _PRESETS[name]()
    network.save_to_preset(str(folder))
    return Family(str(folder), SIZE, regions)


def _flatten(network, pixels):
    maps = np.asarray(network(np.float32(pixels), training=False))
    return maps.reshape(len(maps), -1, maps.shape[-1])


def _make_resnet():
    network = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 16],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        image_shape=(SIZE, SIZE, 3),
    )
    return network, functools.partial(_flatten, network)


def _make_efficientnet():
    network = keras_hub.models.EfficientNetBackbone(
        stackwise_width_coefficients=[1.0] * 2,
        stackwise_depth_coefficients=[1.0] * 2,
        stackwise_kernel_sizes=[3, 5],
        stackwise_num_repeats=[1, 1],
        stackwise_input_filters=[8, 8],
        stackwise_output_filters=[8, 16],
        stackwise_expansion_ratios=[1, 2],
        stackwise_squeeze_and_excite_ratios=[0.25] * 2,
        stackwise_strides=[1, 2],
        stackwise_block_types=["v1"] * 2,
        input_shape=(SIZE, SIZE, 3),
    )
    return network, functools.partial(_flatten, network)


def _make_siglip():
    sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16}
    models = keras_hub.models
    vision = models.SigLIPVisionEncoder(
        patch_size=8,
        intermediate_dim=32,
        image_shape=(SIZE, SIZE, 3),
        name="vision_encoder",
        **sizes,
    )
    text = models.SigLIPTextEncoder(
        vocabulary_size=64,
        embedding_dim=16,
        intermediate_dim=32,
        max_sequence_length=16,
        name="text_encoder",
        **sizes,
    )
    # As in a pretrained one.
    for variable in vision.weights:
        if variable.path.endswith("position_ids"):
            variable.assign(np.arange(variable.shape[1])[None])

    def run(pixels):
        x = vision.embedding(np.float32(pixels))
        for layer in vision.encoder_layers:
            x = layer(x)
        return np.asarray(vision.post_layer_norm(x))

    return models.SigLIPBackbone(vision, text), run


_PRESETS = {
    "resnet": _make_resnet,
    "efficientnet": _make_efficientnet,
    "siglip": _make_siglip,
}
NAMES = [*_PRESETS, *_TRANSFORMERS]
