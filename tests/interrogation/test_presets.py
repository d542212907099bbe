import keras_hub
import pytest

from tf_prompt import interrogate
from tf_prompt.interrogation import presets
from tf_prompt.models import clip
from tf_prompt.options import DONE


def test_the_list_has_all_pairs_of_towers_that_keras_hub_has():
    known = {
        name: entry["metadata"]["params"]
        for pair in clip.PAIRS
        for name, entry in pair.presets.items()
    }
    assert {p.name: p.num_parameters for p in presets.PRESETS} == known
    assert presets.DEFAULT in known


def test_verb_lists_presets(capsys):
    assert interrogate.main(["--list"]) == DONE
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == [
        "preset", "parameters", "download", "memory", "width", "pixels"
    ]  # fmt: skip
    assert len(lines) == len(presets.PRESETS)
    (line,) = (line for line in lines if line.split()[0] == presets.DEFAULT)
    # 427,616,770 numbers of 4 bytes.
    assert line.split()[1:3] == ["427,616,770", "1.7"]
    assert line.split()[-2:] == ["768", "224"]
    # Under each other.
    assert len({len(line) for line in [header, *lines]}) == 1


def test_the_width_is_that_of_the_architecture():
    """ViT-L/14, of whose projection OpenAI's paper says 768."""
    (preset,) = (p for p in presets.PRESETS if p.name == presets.DEFAULT)
    assert (preset.width, preset.image_size) == (768, 224)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    return tmp_path / "models/keras/clip/keras/clip_vit_large_patch14"


def test_a_folder_that_was_copied_into_the_cache_is_taken(cache):
    name = "clip_vit_large_patch14"
    handle = keras_hub.models.CLIPBackbone.presets[name]["kaggle_handle"]
    version = handle.rpartition("/")[2]
    assert presets.resolve(name) == name
    folder = cache / version
    folder.mkdir(parents=True)
    # kagglehub makes an empty folder where it could not fetch anything.
    assert presets.resolve(name) == name
    (folder / "config.json").touch()
    assert presets.resolve(name) == str(folder)
    # What kagglehub itself has begun it must go on with.
    (cache / ".complete" / version).mkdir(parents=True)
    assert presets.resolve(name) == name


def test_what_is_no_preset_is_left_as_it_is(tmp_path):
    assert presets.resolve(str(tmp_path)) == str(tmp_path)
    assert presets.resolve("nothing") == "nothing"
    assert presets.resolve("kaggle://a/b/keras/c") == "kaggle://a/b/keras/c"


def test_a_missing_preset_is_explained_in_a_line(cache):
    line = presets.explain_missing("clip_vit_large_patch14", "no connection")
    assert "\n" not in line and "clip_vit_large_patch14, which is not in" in line
    assert str(cache) in line and "no connection" in line
    assert "kagglehub.model_download('keras/clip/keras/clip_vit_large_patch14/" in line
    assert "--clip FOLDER" in line
    assert "a preset of --list" in presets.explain_missing(
        "./nowhere", "what a hub says"
    )
    assert "(gone)" in presets.explain_missing("hf://a/b", "gone")
