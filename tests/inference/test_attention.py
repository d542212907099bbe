"""Strips of attention: what they show, and that predict writes them."""

import io
import types

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from tests import checks
from tests.conftest import draw_record
from tf_prompt import predict
from tf_prompt.data.text import START_ID
from tf_prompt.data.vocabulary import WordVocabulary
from tf_prompt.inference import attention as inference_attention
from tf_prompt.inference.captioner import CaptionerModel
from tf_prompt.inference.places import Places


def test_light_follows_the_weights():
    picture = np.full((32, 32, 3), 200, np.uint8)
    weights = np.array([1.0, 0, 0, 0])
    lit = inference_attention.highlight(picture, weights)
    assert lit[2, 2].mean() == 200
    # Bicubic: a hair above the fifth that stays.
    assert 40 <= lit[-2, -2].mean() < 50


VOCABULARY = WordVocabulary(["", "?", "<", ">", "a", "red", "cat"])


class Looker:
    """A model that looks at region 0 for its first word, 1 for its second, …"""

    image_size, max_tokens, step = 32, 4, None

    def __init__(self):
        self.seen = []

    def attend(self, images, token_ids):
        assert images.shape == (1, 32, 32, 3)
        self.seen.append(token_ids.numpy().tolist())
        return tf.eye(token_ids.shape[1], 4)[None]


def test_each_word_is_looked_for_after_those_before_it():
    model = Looker()
    captioner = CaptionerModel(model, VOCABULARY)
    picture = np.zeros((32, 32, 3), np.uint8)
    words, weights = captioner.look(picture, "red cat a")
    assert model.seen == [[[START_ID, 5, 6]]]
    assert words == ["red", "cat", "a"]
    assert weights.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]
    words, weights = captioner.look(picture, "")
    assert (words, len(weights), len(model.seen)) == ([], 0, 1)


def test_a_strip_has_a_cell_a_word_and_the_image():
    picture = np.zeros((32, 32, 3), np.uint8)
    words = [f"word{i}" for i in range(8)]
    strip = inference_attention.draw_strip(picture, words, np.full((8, 4), 0.25))
    width, height = PIL.Image.open(io.BytesIO(strip)).size
    # Nine cells: two rows of six.
    assert 2 < width / height < 4


def test_no_other_picture_is_replaced(tmp_path):
    captioner = CaptionerModel(Looker(), VOCABULARY)
    photo = tmp_path / "photo.png"
    PIL.Image.new("RGB", (40, 40), "red").save(photo)
    before = photo.read_bytes()
    for folder in (tmp_path, tmp_path / "strips", tmp_path / "strips"):
        strips = inference_attention.AttentionStrips(captioner, folder)
        if folder == tmp_path:
            with pytest.raises(ValueError, match="Received: .*photo.png"):
                strips.write(photo, "red cat")
        else:
            strips.write(photo, "red cat")
    assert photo.read_bytes() == before


def test_strips_of_two_runs_never_mix(tmp_path):
    """Whatever is drawn again, and in whatever order, keeps its strip."""
    captioner = CaptionerModel(Looker(), VOCABULARY)
    paths = [tmp_path / "in" / name for name in ("a/x.png", "b/x.png", "b/x.jpg")]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("RGB", (40, 40)).save(path)
    nothing = dict.fromkeys(["sidecar", "skip_existing", "write_metadata"])
    options = types.SimpleNamespace(attention=str(tmp_path / "strips"), **nothing)

    def draw(*chosen, named=tmp_path / "in"):
        strips = inference_attention.AttentionStrips(captioner, options.attention)
        strips.plan(Places(chosen, [str(named)], options))
        drawn = [strips.write(path, "red cat") for path in chosen]
        return [str(path.relative_to(options.attention)) for path in drawn]

    expected = ["a/x.png", "b/x.png", "b/x-2.png"]
    assert draw(*paths) == expected
    assert draw(*paths[::-1]) == expected[::-1]
    assert draw(paths[2]) == ["b/x-2.png"]
    # Another folder's image of the same name.
    assert draw(paths[0], named=tmp_path / "in" / "a") == ["x.png"]
    assert draw(paths[1], named=tmp_path / "in" / "b") == ["x-2.png"]
    assert draw(paths[0], named=tmp_path / "in" / "a") == ["x.png"]


def test_predict_writes_a_strip_an_image(tiny_run, tmp_path, capsys):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        image = draw_record("red", "top", 0).image
        (tmp_path / folder / "x.jpg").write_bytes(image)
    argv = ["--run-dir", str(tiny_run), str(tmp_path / "a"), str(tmp_path / "b")]
    assert predict.main([*argv, "--attention", str(tmp_path / "strips")]) == 0
    names = sorted(path.name for path in (tmp_path / "strips").iterdir())
    assert names == ["x-2.png", "x.png"]


def test_attention_of_a_saved_model_is_refused(capsys):
    argv = ["--saved-model", "s", "x.png", "--attention", "d"]
    assert checks.exit_code(predict.main, argv) == 2
    assert "attention needs --run-dir" in capsys.readouterr().err
