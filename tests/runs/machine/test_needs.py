"""What commands lack, on machines that have this and that."""

import pytest

from tf_prompt.runs.machine import needs, packages, weights

HAS_ALL = {
    extra: packages.Extra(extra, {}, ())
    for extra in ("demo", "eval", "ingest", "pretrained", "search", "tf-serving")
}


@pytest.fixture
def bare(monkeypatch):
    """A machine without weights, WordNet and Java."""
    monkeypatch.setattr(weights, "find", lambda wanted: None)
    monkeypatch.setattr(weights, "find_wordnet", lambda: None)
    monkeypatch.setattr(needs.shutil, "which", lambda name: None)


def lacks_of(command, extras, reachable):
    (need,) = [need for need in needs.NEEDS if need.command == command]
    return needs.list_lacks(need, extras, reachable)


AWAY = dict.fromkeys(weights.HUBS, False)


def test_the_core_lacks_nothing(bare):
    assert needs.list_lacks(needs.NEEDS[0], {}, AWAY) == []


@pytest.mark.parametrize(
    "command, lack",
    [
        ("demo", 'pip install "tf_prompt[demo]"'),
        ("fit: regressors, ensembles; submit", 'pip install "tf_prompt[eval]"'),
        ("evaluate: METEOR's synonyms", "python -m nltk.downloader wordnet"),
    ],
)
def test_a_bare_machine_lacks_what_commands_say(bare, command, lack):
    assert lacks_of(command, {}, AWAY) == [lack]


def test_weights_without_a_package_come_from_a_file(bare):
    (lack,) = lacks_of("fit: vit_regressor_base", HAS_ALL, AWAY)
    assert lack == "vit_base_patch16_224_imagenet, which no hub in reach has"


def test_an_incomplete_extra_is_missing(bare):
    extras = {**HAS_ALL, "demo": packages.Extra("demo", {"a": "1", "b": None}, ("b",))}
    assert lacks_of("demo", extras, {}) == ['pip install "tf_prompt[demo]"']
    assert lacks_of("demo", HAS_ALL, {}) == []


def test_a_hub_that_answers_is_enough(bare):
    here = dict.fromkeys(weights.HUBS, True)
    assert lacks_of("fit: vit_regressor_base", {}, here) == []


def test_java_is_needed_beside_the_extra(bare):
    assert lacks_of("evaluate --meteor java", HAS_ALL, AWAY) == [
        "a Java runtime on PATH"
    ]


def test_every_extra_is_of_use():
    of_commands = {need.extra for need in needs.NEEDS}
    of_weights = {w.extra for need in needs.NEEDS for w in need.downloads}
    known = {extra.name for extra in packages.list_extras()}
    # No command needs these.
    assert known - of_commands - of_weights == {"gpu", "docs"}
