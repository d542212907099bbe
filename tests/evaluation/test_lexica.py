"""Modifiers of the prompts of one run, and of those of several folds."""

import pytest

from tests.conftest import COLOURS, PLACES
from tf_prompt.data import records
from tf_prompt.data.targets import read_prompts
from tf_prompt.evaluation import lexica
from tf_prompt.evaluation.semantic import SemanticSimilarity
from tf_prompt.inference import pretrained
from tf_prompt.interrogation.clip_tokens import CLIPTokens, build_tokenizer
from tf_prompt.models.presets import build


@pytest.fixture(scope="module")
def part(tiny_shards):
    """The modifiers of the first half of test, if "left" is always written."""
    shard = records.list_shards(tiny_shards, "test")[0]
    rows = [
        {
            "reference": prompt,
            "prediction": f"{prompt.split(',')[0]}, left",
            "nearest_neighbour": prompt,
            "family": prompt,
        }
        for prompt in read_prompts(shard)
    ]
    return lexica.collect(rows, tiny_shards, "test")


def test_each_writer_has_its_modifiers(part):
    count = len(COLOURS) * len(PLACES)
    assert len(part.true) == count and part.families is not None
    assert part.found["model"] == [["left"]] * count
    assert part.found["nearest_neighbour"] == part.true
    found = lexica.summarise([part])
    # One place of three is left.
    assert found["model"]["f1"]["score"] == pytest.approx(1 / 3)
    assert found["ten_commonest"]["recall"]["score"] == 1
    # All three places are written of each picture: 1/3 of them right.
    compared = found[lexica.AGAINST]["f1"]
    assert compared["difference"] == pytest.approx(1 / 3 - 1 / 2)
    assert compared["low"] < compared["difference"] < compared["high"]
    assert compared["signature"].endswith("paired bootstrap:families")
    assert "f1: model minus the ten commonest -0.1667 [" in lexica.format_table(found)


def test_a_model_s_own_list_counts(tiny_shards):
    row = {"prediction": "left top", "reference": "", "nearest_neighbour": ""}
    rows = [{**row, "modifiers": "left top, middle"}]
    found = lexica.collect(rows, tiny_shards, "test").found
    assert found["model"] == [["left top", "middle"]]


def test_folds_count_together(part):
    always = dict.fromkeys(part.found, [["a"]] * 12)
    other = lexica.Modifiers([["a"]] * 12, always, list("abcdefghijkl"))
    found = lexica.summarise([part, other])
    assert found["examples"] == 24
    assert found["model"]["precision"]["score"] == pytest.approx((4 + 12) / 24)


def test_semantic_similarity_is_by_clip(tiny_shards, monkeypatch):
    tokens = CLIPTokens(build_tokenizer({"red": 9, "square": 5}, 600), max_tokens=8)
    network = build("clip_interrogator_tiny", vocab_size=600, image_size=32)
    monkeypatch.setattr(
        pretrained, "load_pretrained", lambda source, half: (network, tokens)
    )
    semantic = SemanticSimilarity("a_clip")
    # The same after the eighth token: the text is cut there.
    references, written = ["red " * 6, "red " * 7], ["red " * 9, "square"]
    same, other = semantic(references, {"model": written})["model"]
    assert same == pytest.approx(1, abs=1e-6) and other < 0.999
    rows = [
        {"reference": text, "prediction": text, "nearest_neighbour": "square"}
        for text in read_prompts(records.list_shards(tiny_shards, "test")[0])
    ]
    measured = lexica.collect(rows, tiny_shards, "test", semantic)
    found = lexica.summarise([measured, measured])
    assert found["semantic_similarity"]["model"]["score"] == pytest.approx(1)
    table = lexica.format_table(found)
    assert "semantic similarity: model 1.0000 [1.0000, 1.0000], nearest_nei" in table
    assert "model:a_clip|tokens:48|text:words" in table


def test_prompts_without_modifiers_have_no_scores(part):
    empty = lexica.Modifiers([], dict.fromkeys(part.found, []), None)
    assert lexica.summarise([empty]) == {"examples": 0}
