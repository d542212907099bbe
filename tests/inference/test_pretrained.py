import json
import shutil

import numpy as np
import PIL.Image
import pytest

import tf_prompt
from tests import checks
from tf_prompt import interrogate
from tf_prompt.data import images
from tf_prompt.inference import pretrained
from tf_prompt.interrogation import clip_tokens, table_sources
from tf_prompt.models import clip_conversion
from tf_prompt.options import DONE, WRONG_USE

SIZE = 32
WORDS = "a photo of red cat by monet on the sand 3d it's żółw".split()
# In the letters, marks and spaces that users write.
PHRASES = ["A Photo", "by Claude  Monet", "it's a red cat!", "on the sand, 3d", "Żółw"]
DEFAULT = "clip_vit_large_patch14"


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """A CLIP of transformers with its tokenizer, and both kinds of folder of it."""
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("pretrained")
    ours = clip_tokens.build_tokenizer(dict.fromkeys(WORDS, 3), 560)
    sizes = {"intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    config = transformers.CLIPConfig(
        text_config={
            **sizes,
            "hidden_size": 32,
            "vocab_size": ours.vocabulary_size(),
            "max_position_embeddings": 32,
            "eos_token_id": ours.end_token_id,
        },
        vision_config={**sizes, "hidden_size": 48, "image_size": SIZE, "patch_size": 8},
        projection_dim=24,
    )
    model = transformers.CLIPModel(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            # New weights are so small that all texts would look alike.
            if name != "logit_scale":
                weight.add_(0.2 * torch.randn_like(weight))
    model.save_pretrained(root / "hugging_face")
    folder = root / "hugging_face"
    (folder / "vocab.json").write_text(json.dumps(dict(ours.vocabulary)))
    merges = "\n".join(["#version: 0.2", *ours.merges, ""])
    (folder / "merges.txt").write_text(merges, encoding="utf-8")
    clip_conversion.convert(folder).save_to_preset(root / "keras_hub")
    ours.save_to_preset(root / "keras_hub")
    return model, transformers.CLIPTokenizer.from_pretrained(folder), root


@pytest.fixture(scope="module")
def picture(theirs):
    """A picture of the model's size: nobody need resize it."""
    path = theirs[2] / "picture.png"
    pixels = np.random.default_rng(1).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(path)
    return path


def ask_transformers(theirs, picture, texts):
    import torch
    import transformers

    model, tokenizer, _ = theirs
    processor = transformers.CLIPImageProcessor(
        size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}
    )
    # Padded to 32, as clip-interrogator pads to 77.
    inputs = tokenizer(
        list(texts), padding="max_length", max_length=32, return_tensors="pt"
    )
    with torch.no_grad():
        output = model(
            **inputs,
            pixel_values=processor(PIL.Image.open(picture), return_tensors="pt")[
                "pixel_values"
            ],
        )
    return (output.image_embeds @ output.text_embeds.T).numpy()[0]


@pytest.mark.parametrize("kind", ["hugging_face", "keras_hub"])
def test_scores_are_those_of_transformers(theirs, picture, kind, tmp_path):
    interrogator = tf_prompt.Interrogator.from_preset(
        theirs[2] / kind,
        tables=[],
        phrases={"own": PHRASES},
        cache_dir=tmp_path,
        mode="fast",
        top=2,
        half=False,
    )
    expected = ask_transformers(theirs, picture, PHRASES)
    assert expected.std() > 0.02
    found = interrogator.interrogate(picture)
    # The best two, in order, and the prompt that they make.
    order = np.argsort(-expected)[:2]
    assert [phrase for phrase, _ in found.phrases["own"]] == [PHRASES[i] for i in order]
    cosines = [cosine for _, cosine in found.phrases["own"]]
    np.testing.assert_allclose(cosines, expected[order], atol=1e-4)
    assert found.prompt == ", ".join(PHRASES[i] for i in order)
    (similarity,) = ask_transformers(theirs, picture, [found.prompt])
    assert found.similarity == pytest.approx(similarity, abs=1e-4)


def test_a_tokenizer_in_one_file_is_read(theirs):
    """As transformers 5 saves it."""
    model, tokenizer, root = theirs
    folder = root / "one_file"
    tokenizer.save_pretrained(folder)
    assert not (folder / "merges.txt").exists()
    tokens = clip_tokens.CLIPTokens(clip_tokens.load_tokenizer(folder), 32)
    for text, row in zip(PHRASES, tokens.rows(PHRASES), strict=True):
        assert row.tolist() == tokenizer(text)["input_ids"]


def test_pictures_are_resized_as_clip_was_trained(theirs, tmp_path):
    """With transformers' bicubic filter, of Pillow, to a level of 255 or two."""
    import transformers

    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (9, 9, 3), np.uint8)
    path = tmp_path / "large.png"
    PIL.Image.fromarray(small).resize((128, 128), PIL.Image.Resampling.BICUBIC).save(
        path
    )
    processor = transformers.CLIPImageProcessor(
        size={"shortest_edge": SIZE},
        crop_size={"height": SIZE, "width": SIZE},
        do_rescale=False,
        do_normalize=False,
    )
    expected = processor(PIL.Image.open(path), return_tensors="np")["pixel_values"][0]
    expected = np.moveaxis(np.asarray(expected, np.int32), 0, -1)
    interrogator = pretrained.load_interrogator(
        str(theirs[2] / "keras_hub"), {"t": ["a"]}, interrogation("fast"), tmp_path
    )
    found = interrogator.decode(path.read_bytes()).numpy().astype(int)
    assert np.abs(found - expected).max() <= 2
    other = images.decode_image(path.read_bytes(), SIZE).numpy().astype(int)
    assert np.abs(other - expected).max() > 2


def interrogation(mode):
    from tf_prompt.interrogation.config import InterrogationConfig

    return InterrogationConfig(mode=mode)


def run_verb(capsys, *arguments):
    code = checks.exit_code(interrogate.main, list(map(str, arguments)))
    return code, *capsys.readouterr()


@pytest.fixture
def small_tables(tmp_path, monkeypatch):
    """A few phrases in place of the ten thousand that ship."""
    folder = tmp_path / "tables"
    folder.mkdir()
    for name in table_sources.NAMES:
        (folder / f"{name}.txt").write_text(f"{name} one\n{name} two\n")
    monkeypatch.setattr(table_sources, "SHIPPED", folder)


@pytest.fixture
def caches(tmp_path, monkeypatch):
    """Empty caches of KerasHub and of the user, and no network."""
    import kagglehub
    import requests

    def fail(*arguments, **keywords):
        raise requests.exceptions.ConnectionError("Max retries exceeded")

    monkeypatch.setattr(kagglehub, "model_download", fail)
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TF_PROMPT_CACHE", raising=False)
    return tmp_path


def put_into_cache(theirs, caches):
    import keras_hub

    handle = keras_hub.models.CLIPBackbone.presets[DEFAULT]["kaggle_handle"]
    shutil.copytree(
        theirs[2] / "keras_hub",
        caches / "hub" / "models" / handle.removeprefix("kaggle://"),
    )


def test_verb_needs_nothing_but_a_picture(
    theirs, picture, caches, small_tables, capsys, monkeypatch
):
    put_into_cache(theirs, caches)
    code, out, err = run_verb(capsys, picture)
    first, *tables = out.splitlines()
    assert code == DONE and "error" not in err and first.startswith(f"{picture}\t")
    names = [line.split(":")[0].strip() for line in tables]
    assert names == ["media", "movements", "artists", "flavours", "settings"]
    assert "by artists one (" in out
    cached = list(caches.glob("cache/tf_prompt/phrase_embeddings/*/*.npz"))
    assert len(cached) == 1
    # The second time the phrases are there.
    monkeypatch.setattr("tf_prompt.interrogation.phrase_store.PhraseStore._embed", None)
    assert run_verb(capsys, picture)[:2] == (code, out)


def test_verb_takes_tables_files_and_a_folder(
    theirs, picture, caches, small_tables, capsys, tmp_path
):
    own = tmp_path / "own.txt"
    own.write_text("a red cat\n")
    code, out, err = run_verb(
        capsys, picture, "--json", "--no-embedding", "--tables", "negatives", "media",
        "--phrases", own, "--clip", theirs[2] / "hugging_face", "--mode", "classic",
        "--cache-dir", tmp_path / "mine",
    )  # fmt: skip
    result = json.loads(out)
    assert code == DONE and set(result["phrases"]) == {"negatives", "media", "own"}
    assert "a red cat" in result["prompt"] and list(tmp_path.glob("mine/*/*.npz"))
    code, out, _ = run_verb(
        capsys, picture, "--json", "--no-embedding", "--tables", "--phrases", own,
        "--clip", theirs[2] / "keras_hub",
    )  # fmt: skip
    assert set(json.loads(out)["phrases"]) == {"own"}
    code, _, err = run_verb(
        capsys, picture, "--tables", "--clip", theirs[2] / "keras_hub"
    )
    assert code == WRONG_USE and "phrases must not be empty" in err


def test_a_preset_out_of_reach_is_explained_in_one_line(
    picture, caches, small_tables, capsys
):
    code, out, err = run_verb(capsys, picture)
    assert code == WRONG_USE and out == "" and err.count("\n") == 1
    assert f"{DEFAULT}, which is not in {caches / 'hub'}" in err
    assert "(no connection)" in err and "--clip FOLDER" in err


@pytest.mark.parametrize("name", ["nowhere", "tiny"])
def test_what_is_neither_preset_nor_folder_is_refused(
    picture, caches, small_tables, capsys, name
):
    code, _, err = run_verb(capsys, picture, "--clip", name)
    assert code == WRONG_USE and err.count("\n") == 1
    assert f"Received: {name}" in err and "a preset of --list" in err


def test_a_folder_of_another_model_is_refused(
    picture, caches, small_tables, capsys, tmp_path
):
    (tmp_path / "config.json").write_text('{"model_type": "siglip"}')
    code, _, err = run_verb(capsys, picture, "--clip", tmp_path)
    assert code == WRONG_USE and err.count("\n") == 1
    assert "CLIPModel or a MetaClip2Model" in err and "model_type=siglip" in err


def test_towers_compute_in_halves_if_asked(theirs, picture, tmp_path):
    folder = theirs[2] / "keras_hub"
    found = {}
    for half in (False, True):
        interrogator = tf_prompt.Interrogator.from_preset(
            folder, [], {"own": PHRASES}, cache_dir=tmp_path, mode="fast", half=half
        )
        found[half] = dict(interrogator.interrogate(picture).phrases["own"])
    assert found[True].keys() == found[False].keys()
    for phrase, cosine in found[True].items():
        assert cosine == pytest.approx(found[False][phrase], abs=5e-3)
    # Each precision has vectors of its own.
    assert len(list(tmp_path.iterdir())) == 2


def test_a_gpu_decides_on_the_precision(monkeypatch):
    import tensorflow as tf

    for capabilities, expected in (
        ([], False), ([(6, 1)], False), ([(8, 0)], True), ([(8, 0), (6, 1)], False)
    ):  # fmt: skip
        monkeypatch.setattr(
            tf.config, "list_physical_devices", lambda kind, c=capabilities: c
        )
        monkeypatch.setattr(
            tf.config.experimental,
            "get_device_details",
            lambda capability: {"compute_capability": capability},
        )
        assert pretrained.has_fast_halves() == expected
