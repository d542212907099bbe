import contextlib
import json

import keras
import keras_hub
import numpy as np
import pytest

from tests import checks
from tf_prompt.models import clip, clip_conversion
from tf_prompt.models.interrogator import CLIPInterrogator
from tf_prompt.models.pretrained import CLIP

VOCAB_SIZE, END = 60, 59
TOKEN_IDS = np.array([[58, 5, 6, 59, 0], [58, 7, 59, 0, 0], [58, 9, 30, 31, 59]])


def small_clip():
    """A CLIP as KerasHub's presets are, tiny."""
    vision = keras_hub.models.CLIPVisionEncoder(
        8, 16, 1, 2, 32, image_shape=(32, 32, 3)
    )
    text = keras_hub.models.CLIPTextEncoder(
        VOCAB_SIZE, 16, 16, 1, 2, 32, max_sequence_length=8
    )
    return keras_hub.models.CLIPBackbone(vision, text, 12)


def draw_images(num):
    return np.random.default_rng(0).integers(0, 256, (num, 32, 32, 3)).astype("uint8")


@pytest.fixture(scope="module")
def transformers_model(tmp_path_factory):
    """A randomly initialised transformers CLIPModel, and the folder it is saved in."""
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    config = transformers.CLIPConfig(
        text_config={
            "vocab_size": VOCAB_SIZE,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 16,
            "eos_token_id": END,
        },
        vision_config={
            "hidden_size": 48,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 32,
            "patch_size": 8,
        },
        projection_dim=24,
    )
    model = transformers.CLIPModel(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            # New norms and biases are ones and zeros, which hide a wrong mapping;
            # and so small are new weights that attention is nearly even.
            if name != "logit_scale":
                weight.add_(0.2 * torch.randn_like(weight))
    folder = tmp_path_factory.mktemp("transformers_clip")
    model.save_pretrained(folder)
    return model, folder


def test_converted_clip_gives_the_similarities_of_transformers(transformers_model):
    import torch

    theirs, folder = transformers_model
    images = draw_images(4)
    scaled = (images / 255 - np.array(CLIP.mean)) / np.array(CLIP.std)
    with torch.no_grad():
        output = theirs(
            pixel_values=torch.tensor(
                scaled.transpose(0, 3, 1, 2), dtype=torch.float32
            ),
            input_ids=torch.tensor(TOKEN_IDS),
        )
    expected = (output.image_embeds @ output.text_embeds.T).numpy()
    # Enough apart that an exchange of two arrays would show.
    assert expected.std() > 0.02
    ours = CLIPInterrogator(str(folder))
    found = ours.encode_images(images) @ keras.ops.transpose(
        ours.encode_texts(TOKEN_IDS)
    )
    np.testing.assert_allclose(found, expected, atol=1e-4)
    logits = ours({"images": images, "token_ids": TOKEN_IDS})
    np.testing.assert_allclose(logits, output.logits_per_image.numpy(), atol=2e-3)


def test_a_damaged_transformers_folder_is_refused(transformers_model, tmp_path):
    _, folder = transformers_model
    config = json.loads((folder / "config.json").read_text())
    with pytest.raises(ValueError, match="safetensors files"):
        (tmp_path / "config.json").write_text(json.dumps(config))
        clip.load_clip(tmp_path)
    (tmp_path / "model.safetensors").symlink_to(folder / "model.safetensors")
    config["text_config"]["vocab_size"] = VOCAB_SIZE + 1
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"token_embedding.weight must fit \(61, 32\)"):
        clip.load_clip(tmp_path)
    config["model_type"] = "bert"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="model_type=bert"):
        clip.load_clip(tmp_path)


def test_a_missing_array_is_named(transformers_model, tmp_path, monkeypatch):
    _, folder = transformers_model
    with clip_conversion.open_arrays(folder) as arrays:
        del arrays["visual_projection.weight"]
        opened = contextlib.nullcontext(arrays)
        monkeypatch.setattr(clip_conversion, "open_arrays", lambda folder: opened)
        with pytest.raises(ValueError, match="visual_projection.weight"):
            clip.load_clip(folder)


def test_a_preset_folder_keeps_its_weights(tmp_path):
    preset = small_clip()
    preset.save_to_preset(tmp_path)
    loaded = clip.load_clip(tmp_path)
    inputs = {"images": np.ones((1, 32, 32, 3), "float32"), "token_ids": TOKEN_IDS}
    expected = preset(inputs)["vision_logits"]
    np.testing.assert_allclose(loaded(inputs)["vision_logits"], expected, atol=1e-6)
    with pytest.raises(ValueError, match="`vocab_size` must be that of the clip, 60"):
        clip.load_clip(tmp_path, vocab_size=61)


def test_what_is_no_clip_is_refused(tmp_path):
    keras_hub.models.ViTBackbone((32, 32, 3), 16, 1, 1, 8, 16).save_to_preset(tmp_path)
    with pytest.raises(ValueError, match="must be a CLIP, Meta.*ViTBackbone"):
        clip.load_clip(tmp_path)
    with pytest.raises(ValueError, match="one of tiny, base, a KerasHub preset"):
        clip.load_clip(tmp_path / "nothing")


def test_patches_of_a_new_clip_know_their_places():
    """KerasHub gives all patches of an untrained CLIP the first position."""
    described = clip.describe(small_clip())
    vision = clip.load_clip(described).vision_encoder
    np.testing.assert_array_equal(vision.embedding.position_ids, [np.arange(17)])


def test_description_has_no_precision_of_its_own():
    described = clip.describe(small_clip())
    half = clip.load_clip(described, dtype="mixed_float16")
    assert half.vision_encoder.encoder_layers[0].compute_dtype == "float16"
    assert half.text_encoder.encoder_layers[0].compute_dtype == "float16"
    assert clip.describe(half) == described


def test_base_is_the_preset_vit_base_patch16():
    """149,620,934 parameters, as KerasHub lists the preset `clip_vit_base_patch16`.

    Its 197 numbered positions are among them. Shapes alone: no weight is drawn.
    """
    with keras.StatelessScope(initialize_variables=False):
        base = clip.load_clip("base")
    assert sum(int(np.prod(w.shape)) for w in base.weights) == 149_620_934


def test_hybrid_encoder():
    encoder = clip.HybridVisionEncoder((8, 16), 1, 2, 32, (32, 32, 3))
    checks.check_config(encoder)
    assert encoder({"images": np.ones((2, 32, 32, 3))}).shape == (2, 1, 16)
