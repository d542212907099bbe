import keras
import numpy as np
import pytest

from tests import checks
from tf_prompt.models.interrogator import CLIPInterrogator
from tf_prompt.models.pretrained import CLIP

START, END = 40, 41
TOKEN_IDS = np.array([[START, 5, 6, END, 0, 0], [START, 7, END, 0, 0, 0]])


def build_small(**arguments):
    return CLIPInterrogator("tiny", vocab_size=END + 1, image_size=32, **arguments)


@pytest.fixture(scope="module")
def model():
    """A small CLIP that no test changes."""
    keras.utils.set_random_seed(0)
    return build_small()


def draw_images(num):
    return np.random.default_rng(0).integers(0, 256, (num, 32, 32, 3)).astype("uint8")


def test_model(tmp_path):
    model = build_small(flip=True)
    inputs = {"images": draw_images(2), "token_ids": TOKEN_IDS}
    checks.check_model(model, inputs, tmp_path)
    assert model.image_size == 32 and model.vocab_size == END + 1


def test_embeddings_have_unit_length(model):
    for vectors in (
        model.encode_images(draw_images(3)),
        model.encode_texts(TOKEN_IDS),
    ):
        assert vectors.shape[-1] == model.embedding_dim
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1, atol=1e-5)


def test_logits_are_scaled_cosines(model):
    images = draw_images(3)
    logits = model({"images": images, "token_ids": TOKEN_IDS})
    cosines = (
        model.encode_images(images).numpy() @ model.encode_texts(TOKEN_IDS).numpy().T
    )
    # CLIP begins with the temperature 0.07.
    np.testing.assert_allclose(logits, cosines / 0.07, rtol=1e-4, atol=1e-4)


def test_scale_never_exceeds_a_hundred():
    model = build_small()
    model.backbone.clip_head.logit_scale.assign(50.0)
    assert float(model.scale()) == pytest.approx(100, rel=1e-5)


def test_padding_changes_nothing(model):
    padded = np.pad(TOKEN_IDS, [[0, 0], [0, 4]])
    np.testing.assert_allclose(
        model.encode_texts(padded), model.encode_texts(TOKEN_IDS), atol=1e-5
    )


def test_order_of_words_matters(model):
    texts = np.array([[START, 5, 6, END], [START, 6, 5, END]])
    one, other = model.encode_texts(texts).numpy()
    assert one @ other < 0.9999


def test_float16_stays_finite():
    model = build_small(dtype="mixed_float16")
    logits = model({"images": draw_images(2), "token_ids": TOKEN_IDS})
    assert logits.dtype == "float32" and np.isfinite(logits).all()


def test_wrong_arguments_are_refused(model):
    with pytest.raises(ValueError, match="`clip` must be one of tiny, base"):
        CLIPInterrogator("huge")
    with pytest.raises(ValueError, match="`image_size` must be that of the clip, 32"):
        CLIPInterrogator(model.clip, image_size=64)


def test_the_small_clip_sees_pixels_scaled_as_openai_s(model):
    # Its tower's class is its own, and no table lists it.
    mean = np.array(CLIP.mean, np.float32) * 255
    pixels = np.broadcast_to(mean, (1, model.image_size, model.image_size, 3))
    scaled = model.image_network.get_layer("clip_scale")(pixels)
    np.testing.assert_allclose(scaled, 0, atol=1e-5)
