"""Exports of every kind of model, answered by the TensorFlow of compose.yaml's server.

A server's image is not here, but what it computes with is: the same release of
TensorFlow, in an environment made for it, without Keras and without tf_prompt. It
takes a minute or two to install.
"""

import io
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from tests.conftest import draw_record
from tests.serving import answers, kinds
from tf_prompt.inference.model import PromptModel
from tf_prompt.serving import versions
from tf_prompt.serving.signatures import Servable

pytestmark = pytest.mark.slow
ROOT = pathlib.Path(__file__).parents[2]
CAPTIONER = {"attention", "beam", "pixels", "serving_default"}
EMBEDDER = {"embed", "serving_default"}
SIGNATURES = {
    "clip": EMBEDDER,
    "ensemble": EMBEDDER,
    "resnet": EMBEDDER,
    "retrieval": {"serving_default"},
    "subwords": CAPTIONER,
    "tagger": {"modifiers", "serving_default"},
    "transformer": CAPTIONER | {"embed"},
}
each_kind = pytest.mark.parametrize("name", SIGNATURES)


def read_version():
    """The release of the server that compose.yaml starts."""
    text = (ROOT / "saved_models" / "compose.yaml").read_text()
    return re.search(r"tensorflow/serving:\$\{TF_SERVING_VERSION:-([\d.]+)}", text)[1]


@pytest.fixture(scope="module")
def python():
    """An interpreter with the server's TensorFlow; its folder goes afterwards."""
    with tempfile.TemporaryDirectory(prefix="tf_prompt-serving-") as folder:
        subprocess.run(
            [sys.executable, "-m", "venv", "--without-pip", folder], check=True
        )
        path = pathlib.Path(folder, "bin", "python")
        pip = [sys.executable, "-m", "pip", "--python", str(path), "install"]
        pip += ["--quiet", "--no-compile", f"tensorflow=={read_version()}"]
        done = subprocess.run(pip, capture_output=True, text=True)
        # Where nothing can be installed it is left out, but never by CI.
        if done.returncode and not os.environ.get("CI"):
            pytest.skip(f"needs pip to install TensorFlow: {done.stderr[-300:]}")
        assert not done.returncode, done.stderr
        yield path


@pytest.fixture(scope="module")
def models(minilm, tmp_path_factory):
    return kinds.build_all(minilm, tmp_path_factory.mktemp("phrases"))


@pytest.fixture(scope="module")
def exports(models, tmp_path_factory):
    """What `export` writes of each model, not compared with it: that is to come."""
    output = tmp_path_factory.mktemp("saved_models")
    for name, model in models.items():
        versions._write(Servable(model), output / name)
    return {name: output / name for name in models}


def encode_images():
    """An image in each format, animations among them, and three that are broken."""
    jpeg = draw_record("red", "left", 0).image
    picture = PIL.Image.open(io.BytesIO(jpeg))
    others = {"save_all": True, "append_images": [picture.rotate(90)]}
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    encoded = [jpeg]
    for image, options in [
        (picture, {"format": "PNG"}),
        (picture.convert("RGBA"), {"format": "PNG"}),
        (picture.convert("L"), {"format": "PNG"}),
        (picture, {"format": "WEBP", "lossless": True}),
        (picture, {"format": "WEBP", **others}),
        (picture, {"format": "GIF", **others}),
        (picture, {"format": "BMP"}),
        (picture, {"format": "JPEG", "exif": exif}),
    ]:
        file = io.BytesIO()
        image.save(file, **options)
        encoded.append(file.getvalue())
    return [*encoded, b"", b"no image", encoded[1][:40]]


@pytest.fixture(scope="module")
def found(python, exports, tmp_path_factory):
    """What the older TensorFlow answers, by name; it has no other package to ask."""
    folder = tmp_path_factory.mktemp("answers")
    rows = [np.frombuffer(data, np.uint8) for data in encode_images()]
    np.savez(folder / "images.npz", *rows)
    # -P: packages beside the script, such as http, must not hide Python's own.
    command = [python, "-P", answers.__file__]
    command += [folder / "images.npz", folder / "answers.npz"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [*map(str, command), *map(str, exports.values())],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert not done.returncode, done.stderr[-3000:]
    return dict(np.load(folder / "answers.npz"))


def test_every_kind_is_tried():
    classes = PromptModel.__subclasses__()
    ours = {c.__name__ for c in classes if c.__module__.startswith("tf_prompt.")}
    assert ours <= set(vars(kinds))


def test_it_is_the_servers_release(found):
    assert str(found["version"]) == read_version() != tf.__version__


@each_kind
def test_every_signature_gives_the_same(name, exports, found):
    path = exports[name]
    expected = answers.answer(path, encode_images())
    theirs = {
        key.removeprefix(f"{path}:"): value
        for key, value in found.items()
        if key.startswith(f"{path}:")
    }
    assert theirs.keys() == expected.keys()
    assert {key.split("/")[0] for key in theirs} == SIGNATURES[name]
    for key, value in expected.items():
        if value.dtype.kind == "S":
            np.testing.assert_array_equal(theirs[key], value, key)
        else:
            np.testing.assert_allclose(theirs[key], value, atol=1e-5, err_msg=key)
    scores = expected["serving_default/score"]
    # The broken ones are the last three, for both.
    assert np.isnan(scores).tolist() == [False] * 9 + [True] * 3
