import io

import keras_hub
import numpy as np
import pytest
import sentencepiece

from tf_prompt.interrogation import packed_tokens
from tf_prompt.models import clip
from tf_prompt.models.interrogator import CLIPInterrogator

# KerasHub 0.32 leaves the file of pieces open.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)
TEXTS = ["a red cat", "cat", "a cat on sand, a red cat on sand"]


def train_pieces(**special):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a red cat on sand", "the cat", "sand"] * 9),
        model_writer=model,
        vocab_size=15,
        minloglevel=2,
        **special,
    )
    return model.getvalue()


@pytest.fixture(scope="module")
def siglip(tmp_path_factory):
    """The folder of a tiny SigLIP, as KerasHub's presets are."""
    folder = tmp_path_factory.mktemp("siglip")
    vision = keras_hub.models.SigLIPVisionEncoder(
        8, 16, 1, 2, 32, image_shape=(32, 32, 3)
    )
    text = keras_hub.models.SigLIPTextEncoder(
        15, 16, 16, 1, 2, 32, max_sequence_length=16
    )
    keras_hub.models.SigLIPBackbone(vision, text).save_to_preset(folder)
    proto = train_pieces(bos_id=-1, pad_id=-1, unk_id=0, eos_id=1)
    keras_hub.models.SigLIPTokenizer(proto, add_eos=True).save_to_preset(folder)
    keras_hub.layers.SigLIPImageConverter((32, 32)).save_to_preset(folder)
    return folder


@pytest.fixture(scope="module")
def metaclip(tmp_path_factory):
    """The folder of a tiny MetaCLIP 2, as KerasHub's presets are."""
    folder = tmp_path_factory.mktemp("metaclip")
    vision = keras_hub.models.MetaCLIP2VisionEncoder(
        8, 16, 1, 2, 32, image_shape=(32, 32, 3)
    )
    text = keras_hub.models.MetaCLIP2TextEncoder(
        16, 16, 16, 1, 2, 32, max_sequence_length=16
    )
    keras_hub.models.MetaCLIP2Backbone(vision, text, 12).save_to_preset(folder)
    proto = train_pieces(bos_id=1, eos_id=2, unk_id=0, pad_id=-1)
    keras_hub.models.MetaCLIP2Tokenizer(proto).save_to_preset(folder)
    keras_hub.layers.MetaCLIP2ImageConverter((32, 32)).save_to_preset(folder)
    return folder


def ask_keras_hub(folder, preprocessor_class):
    """Cosines as KerasHub's own preprocessor and model give them."""
    preprocessor = preprocessor_class.from_preset(str(folder), sequence_length=16)
    preprocessor.image_converter = None
    backbone = keras_hub.models.Backbone.from_preset(str(folder))
    ids = preprocessor({"prompts": TEXTS, "images": np.zeros((3, 1))})["token_ids"]
    vectors = np.asarray(backbone.get_text_embeddings(ids))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize(
    "name, preprocessor_class, lengths",
    [
        # It sees the whole text, padding too, and was trained on full length.
        ("siglip", keras_hub.models.SigLIPPreprocessor, {16}),
        ("metaclip", keras_hub.models.MetaCLIP2CausalLMPreprocessor, None),
    ],
)
def test_texts_are_embedded_as_keras_hub_does(
    name, preprocessor_class, lengths, request
):
    folder = request.getfixturevalue(name)
    model = CLIPInterrogator(str(folder))
    tokens = packed_tokens.load_packed_tokens(str(folder), model)
    rows = tokens.rows(TEXTS)
    if lengths:
        assert {len(row) for row in rows} == lengths
    else:
        assert len(rows[1]) < len(rows[0]) < len(rows[2]) <= 16
        # Start, and the end where the pooling looks for it.
        assert all(row[0] == 0 and row[-1] == 2 for row in rows)
    padded = tokens.pad(rows)
    assert padded.shape == (3, max(map(len, rows)))
    expected = ask_keras_hub(folder, preprocessor_class)
    np.testing.assert_allclose(model.encode_texts(padded), expected, atol=1e-5)
    assert tokens.rows([]) == [] and tokens.max_tokens == 16
    assert tokens.describe()["pieces"]


def test_pixels_are_scaled_as_the_family_was_trained(siglip, metaclip):
    pixels = np.full((1, 32, 32, 3), 51, np.uint8)
    # 51 of 255 is 0.2: in SigLIP (0.2 - 0.5) / 0.5.
    model = CLIPInterrogator(str(siglip))
    backbone = model.backbone
    expected = backbone.get_vision_embeddings(np.full((1, 32, 32, 3), -0.6, "float32"))
    expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(model.encode_images(pixels), expected, atol=1e-5)
    scaled = (0.2 - np.array([0.48145466, 0.4578275, 0.40821073])) / np.array(
        [0.26862954, 0.26130258, 0.27577711]
    )
    model = CLIPInterrogator(str(metaclip))
    expected = model.backbone.get_vision_embeddings(
        np.broadcast_to(scaled, (1, 32, 32, 3)).astype("float32")
    )
    expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(model.encode_images(pixels), expected, atol=1e-5)


def test_half_precision_reaches_both_towers(siglip):
    """KerasHub leaves the towers of a preset as its file says."""
    model = CLIPInterrogator(str(siglip), dtype="float16")
    whole = CLIPInterrogator(str(siglip))
    for tower in (model.backbone.vision_encoder, model.backbone.text_encoder):
        assert {w.dtype for w in tower.trainable_weights} == {"float16"}
    assert model.precision == "float16" and whole.precision == "float32"
    ids = np.full((2, 16), 5)
    found = np.asarray(model.encode_texts(ids))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, whole.encode_texts(ids), atol=5e-3)


def test_towers_of_different_width_are_refused(siglip):
    described = clip.describe(CLIPInterrogator(str(siglip)).backbone)
    described["config"]["text_encoder"]["config"]["projection_dim"] = 20
    with pytest.raises(ValueError, match="equal width.* 16 of images and 20 of texts"):
        CLIPInterrogator(described)


def test_a_folder_without_a_tokenizer_is_refused(siglip, tmp_path):
    model = CLIPInterrogator(str(siglip))
    model.backbone.save_to_preset(tmp_path)
    with pytest.raises(ValueError, match="a tokenizer must be beside the weights"):
        packed_tokens.load_packed_tokens(str(tmp_path), model)
