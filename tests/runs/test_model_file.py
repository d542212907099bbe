"""Model files from elsewhere: nothing of them runs, and damage is one line."""

import io
import json
import pathlib
import shutil
import zipfile

import h5py
import keras
import numpy as np
import pytest

from tf_prompt.models import presets
from tf_prompt.models.ensemble import Ensemble
from tf_prompt.models.regressor import EmbeddingRegressor
from tf_prompt.runs import folder as run_folder
from tf_prompt.runs.model_file import load_model_file
from tf_prompt.runs.run import Run

CONFIG, WEIGHTS = "config.json", "model.weights.h5"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The file of the smallest model."""
    path = tmp_path_factory.mktemp("model") / "best.keras"
    run_folder.save_model(Ensemble(("a", "b"), embedding_dim=4), path)
    return path


def members_of(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def changed(sound, path, **changes):
    """A copy whose config has other entries."""
    members = members_of(sound)
    config = {**json.loads(members[CONFIG]), **changes}
    return write(path, {**members, CONFIG: json.dumps(config)})


def refused(path, reason):
    with pytest.raises(ValueError, match=reason) as error:
        load_model_file(path)
    assert str(error.value).startswith("best.keras must be a whole model of tf_prompt.")
    assert "\n" not in str(error.value)


def test_every_family_is_loaded(tmp_path, sound):
    np.testing.assert_array_equal(load_model_file(sound).get_weights(), [[0.5, 0.5]])
    for name in ("vit_regressor_tiny", "resnet_regressor_tiny"):
        run_folder.save_model(presets.build(name), tmp_path / "best.keras")
        found = load_model_file(tmp_path / "best.keras")
        assert isinstance(found, EmbeddingRegressor)


def test_a_lambda_layer_is_not_run(sound, tmp_path):
    trap = tmp_path / "trap"
    code = eval(f"lambda x: __import__('pathlib').Path({str(trap)!r}).touch() or x")
    model = keras.Sequential([keras.Input((1,)), keras.layers.Lambda(code)])
    trap.unlink()
    config = json.dumps(keras.saving.serialize_keras_object(model))
    path = write(tmp_path / "best.keras", {**members_of(sound), CONFIG: config})
    refused(path, "names no class of tf_prompt")
    assert not trap.exists()
    # Armed it was.
    with pytest.raises(ValueError, match="could not be loaded"):
        keras.saving.load_model(path, safe_mode=False)
    assert trap.exists()


def evil(module, name, argument, **more):
    entry = {"module": module, "class_name": name, "config": argument}
    return {**entry, "registered_name": None, **more}


@pytest.mark.parametrize(
    "entry",
    [
        evil("os", "function", "system"),
        evil("builtins", "function", "eval"),
        evil("subprocess", "Popen", {"args": ["touch", "trap"]}),
        evil("keras.utils", "get_file", {"origin": "http://localhost/x"}),
        evil("keras.utils", "function", "get_file"),
        evil("keras.layers", "TFSMLayer", {"filepath": "/absent/x"}),
        evil("keras.layers", "TorchModuleWrapper", {"module": "gASVKAAAAA=="}),
        evil("keras.layers", "Lambda", {"function": {"class_name": "__lambda__"}}),
        evil("builtins", "__lambda__", {"code": "4wEAAAA=", "defaults": None}),
        evil("keras_hub.models", "Backbone", {}, registered_name="keras_hub>Adapter"),
        evil("tf_prompt.models.ensemble", "Unknown", {}, registered_name="tf_prompt>U"),
        # A known class beside a name that wins over it.
        evil("keras", "DTypePolicy", {"name": "x"}, registered_name="keras_hub>X"),
    ],
    ids=lambda entry: f"{entry['module']}.{entry['class_name']}",
)
@pytest.mark.parametrize("depth", ["top", "inside", "compiled"])
def test_foreign_classes_are_refused(sound, tmp_path, monkeypatch, entry, depth):
    monkeypatch.setattr(keras.saving, "load_model", None)  # It must not come so far.
    if depth == "top":
        path = changed(sound, tmp_path / "best.keras", **entry)
        return refused(path, "names")
    config = json.loads(members_of(sound)[CONFIG])["config"]
    changes = {
        "inside": {"config": {**config, "member_weights": [[entry]]}},
        "compiled": {"compile_config": {"loss": entry}},
    }[depth]
    refused(changed(sound, tmp_path / "best.keras", **changes), "names")


@pytest.mark.parametrize("name", ["clip", "backbone", "encoder"])
@pytest.mark.parametrize("source", ["hf://someone/model", "/absent/folder", ["x"]])
def test_a_config_cannot_have_presets_fetched(sound, tmp_path, name, source):
    config = json.loads(members_of(sound)[CONFIG])["config"]
    path = tmp_path / "best.keras"
    changed(sound, path, config={**config, name: source})
    refused(path, f"{name} must be described")


@pytest.mark.parametrize(
    "name", ["assets/../../up", "/root", "assets/vocabulary.txt", "x.py"]
)
def test_other_members_are_refused(sound, tmp_path, name):
    path = write(tmp_path / "best.keras", {**members_of(sound), name: b"x"})
    refused(path, "it holds")


def test_compressed_members_are_refused(sound, tmp_path):
    members = {**members_of(sound), CONFIG: b" " * 10**6}
    path = write(tmp_path / "best.keras", members, zipfile.ZIP_DEFLATED)
    refused(path, "compressed")


def hdf5(fill):
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        fill(file.create_group("vars"))
    return buffer.getvalue()


def test_numbers_outside_the_file_are_refused(sound, tmp_path):
    (tmp_path / "secret").write_bytes(bytes(range(8)))
    shape, outside = (2,), [(str(tmp_path / "secret"), 0, 8)]
    layout = h5py.VirtualLayout(shape, "f4")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", shape)
    fills = {
        "external": lambda g: g.create_dataset("0", shape, "f4", external=outside),
        "virtual": lambda g: g.create_virtual_dataset("0", layout),
        "link": lambda g: g.__setitem__("0", h5py.ExternalLink("other.h5", "/x")),
        "soft link": lambda g: g.__setitem__("0", h5py.SoftLink("/vars/1")),
        "shape": lambda g: g.create_dataset("0", (2**40,), "f4", chunks=(2**20,)),
        "packed": lambda g: g.create_dataset(
            "0", data=np.zeros(2**20, np.float32), compression="gzip"
        ),
    }
    for name, fill in fills.items():
        members = {**members_of(sound), WEIGHTS: hdf5(fill)}
        path = write(tmp_path / "best.keras", members)
        with pytest.raises(ValueError, match="must be a whole model") as error:
            load_model_file(path)
        assert "\n" not in str(error.value), name


def test_a_changed_bit_of_the_weights_is_noticed(sound, tmp_path):
    data = bytearray(sound.read_bytes())
    (place,) = [i for i in range(len(data)) if data[i : i + 8] == b"\0\0\0\x3f" * 2]
    data[place] ^= 1
    path = tmp_path / "best.keras"
    path.write_bytes(data)
    refused(path, "CRC")


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_archive_is_refused(tmp_path, content):
    path = tmp_path / "best.keras"
    path.write_bytes(content)
    refused(path, "best.keras")


def test_run_with_another_vocabulary_is_refused(tiny_run, tmp_path):
    """Ids beyond its end would fail only once they are written."""
    run_dir = tmp_path / "run"
    shutil.copytree(tiny_run, run_dir, ignore=shutil.ignore_patterns("checkpoints"))
    path = run_dir / run_folder.VOCABULARY
    path.write_text("\n".join(path.read_text().split("\n")[:-2]) + "\n")
    with pytest.raises(ValueError, match="must hold the model's .* tokens. Received"):
        assert Run(run_dir).vocabulary


@pytest.mark.parametrize(
    "name, value",
    [
        ("epochs", "many"),
        ("learning_rate", float("nan")),
        ("weight_decay", 10**400),
        ("flip", 1),
        ("batch_size", True),
        ("members", "abc"),
        ("members", [1]),
        ("set", [None]),
        ("preset", None),
    ],
)
def test_options_of_another_type_are_refused(tmp_path, name, value):
    (tmp_path / "config.json").write_text(json.dumps({name: value}))
    with pytest.raises(ValueError, match=f"{name} must be of type .* Received: .*json"):
        run_folder.read_config(tmp_path)


@pytest.mark.parametrize("content", ["[]", "1", "[" * 100_000, '{"a":', "\x00", ""])
def test_damaged_options_are_one_line(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match="JSON .* Received: .*config.json"):
        run_folder.read_config(tmp_path)


def test_nothing_of_ours_unpickles():
    """pickle, joblib and the like run what a file says; no module may use them."""
    words = ("pickle", "joblib", "torch.load", "marshal", "shelve", "safe_mode=False")
    words += ("enable_unsafe_deserialization", "allow_pickle=True", "dill", "yaml.load")
    root = pathlib.Path(run_folder.__file__).parents[2]
    files = [*(root / "tf_prompt").rglob("*.py"), *(root / "pipelines").rglob("*.py")]
    assert len(files) > 100
    for path in files:
        source = path.read_text().replace("allow_pickle=False", "")
        # Of a package that is pinned; it builds tensors and runs nothing.
        source = source.replace("torch.load(path, weights_only=True)", "")
        assert not [word for word in words if word in source], path
