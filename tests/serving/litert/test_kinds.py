"""LiteRT files of each decoder, with words and with subwords, in each precision."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

pytest.importorskip("ai_edge_litert", reason="needs tf_prompt[litert]")

from tests.inference.test_captioner import PICTURES, SIZES, SMALL  # noqa: E402
from tf_prompt.data import vocabulary  # noqa: E402
from tf_prompt.data.text import SPECIAL_TOKENS  # noqa: E402
from tf_prompt.inference.captioner import CaptionerModel  # noqa: E402
from tf_prompt.models import presets  # noqa: E402
from tf_prompt.serving.litert import conversion, writer  # noqa: E402

WORDS = vocabulary.WordVocabulary([*SPECIAL_TOKENS, *map(str, range(36))])
SUBWORDS = vocabulary.build_subwords(
    ["Ærø castle, 8k ☕ (détail:1.2)", "a castle"], 400
)


def build(name, words):
    sizes = {**SMALL, **SIZES[name], "vocab_size": len(words), "max_tokens": 9}
    network = presets.build(name, **sizes)
    # Wide weights, so that no two words are nearly as likely, and prompts differ.
    kernel = network.output_proj.kernel
    kernel.assign(3 * tf.random.stateless_normal(kernel.shape, [1, 2]))
    return CaptionerModel(network, words)


def encode(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("words", [WORDS, SUBWORDS], ids=["words", "subwords"])
@pytest.mark.parametrize("name", SIZES)
def test_a_file_writes_what_its_model_writes(name, words, precision, tmp_path):
    model = build(name, words)
    conversion.export(model.steps(), name, precision, tmp_path / "a.tflite")
    found = writer.LiteRTWriter(tmp_path / "a.tflite")([encode(p) for p in PICTURES])
    expected = model.describe(PICTURES)
    assert list(found["prompt"]) == list(expected["prompt"].numpy())
    assert len(set(found["prompt"])) > 1
    np.testing.assert_allclose(found["score"], expected["score"], atol=0.02)
