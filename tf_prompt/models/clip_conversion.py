"""Converts a transformers `CLIPModel` on disk to KerasHub's `CLIPBackbone`."""

import contextlib
import functools
import json
import pathlib

import keras_hub
import numpy as np
import safetensors

# Model types in transformers' format that KerasHub converts itself.
_CONVERTED_BY_KERAS_HUB = ("metaclip_2",)


def is_transformers_folder(source) -> bool:
    """Whether a path is a transformers folder that `convert` must read.

    Folders of MetaCLIP 2 are left to KerasHub, which reads them like its presets.
    """
    path = pathlib.Path(source) / "config.json"
    if not path.is_file():
        return False
    model_type = _read_config(path).get("model_type")
    return model_type is not None and model_type not in _CONVERTED_BY_KERAS_HUB


def convert(folder, dtype=None):
    """Builds the CLIP of a transformers folder, weights included.

    Args:
        folder: holds `config.json` and one or more `.safetensors` files.
        dtype: dtype policy of the layers; None takes the global one.

    Returns:
        `keras_hub.models.CLIPBackbone` with the same outputs as the transformers
        model.

    Raises:
        ValueError: if the folder holds another model, or an array is missing or has
            the wrong shape.
    """
    folder = pathlib.Path(folder)
    config = _read_config(folder / "config.json")
    if config.get("model_type") != "clip":
        raise ValueError(
            "`clip` must be a folder of a CLIPModel or a MetaClip2Model. "
            f"Received: {folder}, model_type={config.get('model_type')}"
        )
    clip = _build(config, dtype)
    with open_arrays(folder) as arrays:
        _Copier(arrays, folder).copy(clip)
    return clip


def _read_config(path) -> dict:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"`clip` must hold a whole {path.name}. Received: {path}"
        ) from error
    return config if isinstance(config, dict) else {}


@contextlib.contextmanager
def open_arrays(folder):
    """Opens all `.safetensors` files of a folder; a context manager.

    Yields:
        dict from the name of an array to a function that reads it, since all arrays
        together may not fit into memory beside the model.

    Raises:
        ValueError: if there is no such file, or one is damaged.
    """
    paths = sorted(pathlib.Path(folder).glob("*.safetensors"))
    if not paths:
        raise ValueError(f"`clip` must hold .safetensors files. Received: {folder}")
    arrays = {}
    with contextlib.ExitStack() as stack:
        for path in paths:
            try:
                file = stack.enter_context(safetensors.safe_open(path, "numpy"))
            except safetensors.SafetensorError as error:
                raise ValueError(
                    f"a .safetensors file must be whole. Received: {path} ({error})"
                ) from error
            for name in file.keys():
                arrays[name] = functools.partial(file.get_tensor, name)
        yield arrays


def _build(config, dtype):
    # Older files list only what differs from transformers' defaults, which are
    # those of CLIP ViT-B/32.
    text, vision = config.get("text_config") or {}, config.get("vision_config") or {}
    side = vision.get("image_size", 224)
    vision_dim, text_dim = vision.get("hidden_size", 768), text.get("hidden_size", 512)
    vision_encoder = keras_hub.models.CLIPVisionEncoder(
        patch_size=vision.get("patch_size", 32),
        hidden_dim=vision_dim,
        num_layers=vision.get("num_hidden_layers", 12),
        num_heads=vision.get("num_attention_heads", 12),
        intermediate_dim=vision.get("intermediate_size", 3072),
        intermediate_activation=vision.get("hidden_act", "quick_gelu"),
        image_shape=(side, side, 3),
        dtype=dtype,
        name="vision_encoder",
    )
    text_encoder = keras_hub.models.CLIPTextEncoder(
        vocabulary_size=text.get("vocab_size", 49408),
        embedding_dim=text_dim,
        hidden_dim=text_dim,
        num_layers=text.get("num_hidden_layers", 12),
        num_heads=text.get("num_attention_heads", 8),
        intermediate_dim=text.get("intermediate_size", 2048),
        intermediate_activation=text.get("hidden_act", "quick_gelu"),
        max_sequence_length=text.get("max_position_embeddings", 77),
        dtype=dtype,
        name="text_encoder",
    )
    projection_dim = config.get("projection_dim", 512)
    return keras_hub.models.CLIPBackbone(
        vision_encoder, text_encoder, projection_dim, dtype=dtype, name="clip"
    )


class _Copier:
    """Copies arrays, found by their names in transformers, into a CLIP's layers."""

    def __init__(self, arrays, folder):
        self._arrays = arrays
        self._folder = folder

    def copy(self, clip):
        text, vision = clip.text_encoder, clip.vision_encoder
        embedding = text.embedding
        prefix = "text_model.embeddings"
        self._assign(
            embedding.token_embedding.embeddings, f"{prefix}.token_embedding.weight"
        )
        self._assign(
            embedding.position_embedding.position_embeddings,
            f"{prefix}.position_embedding.weight",
        )
        self._copy_blocks(text, "text_model")
        self._copy_norm(text.layer_norm, "text_model.final_layer_norm")
        self._copy_patches(vision.embedding)
        self._copy_norm(vision.pre_layer_norm, "vision_model.pre_layrnorm")
        self._copy_blocks(vision, "vision_model")
        self._copy_norm(vision.layer_norm, "vision_model.post_layernorm")
        for layer, name in (
            (clip.vision_projection, "visual_projection"),
            (clip.text_projection, "text_projection"),
        ):
            self._assign(layer.kernel, f"{name}.weight", np.transpose)
        self._assign(clip.clip_head.logit_scale, "logit_scale")

    def _copy_patches(self, embedding):
        prefix = "vision_model.embeddings"
        self._assign(embedding.class_embedding, f"{prefix}.class_embedding")
        self._assign(
            embedding.patch_embedding.kernel,
            f"{prefix}.patch_embedding.weight",
            lambda array: array.transpose(2, 3, 1, 0),
        )
        self._assign(
            embedding.position_embedding.embeddings,
            f"{prefix}.position_embedding.weight",
        )
        positions = np.arange(embedding.num_positions)[None]
        embedding.position_ids.assign(positions)

    def _copy_blocks(self, encoder, tower):
        for index, block in enumerate(encoder.encoder_layers):
            prefix = f"{tower}.encoder.layers.{index}"
            self._copy_norm(block.layer_norm_1, f"{prefix}.layer_norm1")
            self._copy_norm(block.layer_norm_2, f"{prefix}.layer_norm2")
            self._copy_dense(block.dense_1, f"{prefix}.mlp.fc1")
            self._copy_dense(block.dense_2, f"{prefix}.mlp.fc2")
            attention = block.attention
            for layer, name in (
                (attention.query_dense, "q_proj"),
                (attention.key_dense, "k_proj"),
                (attention.value_dense, "v_proj"),
                (attention.output_dense, "out_proj"),
            ):
                self._copy_dense(layer, f"{prefix}.self_attn.{name}")

    def _copy_norm(self, layer, name):
        self._assign(layer.gamma, f"{name}.weight")
        self._assign(layer.beta, f"{name}.bias")

    def _copy_dense(self, layer, name):
        # Keras has separate axes for heads and head width, transformers has one.
        self._assign(
            layer.kernel, f"{name}.weight", lambda a: a.T.reshape(layer.kernel.shape)
        )
        self._assign(layer.bias, f"{name}.bias", lambda a: a.reshape(layer.bias.shape))

    def _assign(self, variable, name, transform=lambda array: array):
        if name not in self._arrays:
            raise ValueError(f"`clip` must hold {name}. Received: {self._folder}")
        array = self._arrays[name]()
        try:
            variable.assign(transform(array.astype("float32")))
        except ValueError as error:
            raise ValueError(
                f"{name} must fit {tuple(variable.shape)}, as config.json says. "
                f"Received: {array.shape} in {self._folder}"
            ) from error
