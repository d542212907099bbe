"""The prompts of the toy set: distinct, clean under the text rule, flip-safe."""

import dataclasses
import itertools
import random
import re

import pytest
from nltk.translate.bleu_score import corpus_bleu

from tf_prompt.data import split, text
from tf_prompt.data.toy import grammar
from tf_prompt.data.toy import shards as toy_shards
from tf_prompt.data.toy.grammar import Scene

SCENE = Scene(
    medium="oil painting",
    subject="cat",
    count=2,
    colour="red",
    relation="above",
    other="star",
    other_colour="blue",
    place="beach",
    weather="sunset",
    artist="monet",
)


@pytest.fixture(scope="module")
def pairs():
    return grammar.draw_prompts(toy_shards.NUM_PROMPTS, seed=0)


@pytest.fixture(scope="module")
def words(pairs):
    return [text.split_words(prompt, max_words=None) for _, prompt in pairs]


def test_usual_wording():
    assert grammar.word_usually(SCENE) == (
        "an oil painting of two red cats above a blue star on the beach "
        "at sunset, in the style of monet"
    )


def test_wordings_of_an_empty_scene_are_whole():
    bare = dataclasses.replace(
        SCENE,
        count=1,
        colour="orange",
        relation=None,
        other=None,
        other_colour=None,
        weather=None,
        artist=None,
    )
    assert {word(bare) for word in grammar.WORDINGS} == {
        "an oil painting of an orange cat on the beach",
        "an orange cat, beach, oil painting",
        "an orange cat on the beach, an oil painting",
        "oil painting of an orange cat on the beach",
    }


def test_scenes_and_normalised_prompts_are_distinct(pairs, words):
    assert len({" ".join(prompt) for prompt in words}) == len(pairs) == 8000
    assert len({scene for scene, _ in pairs}) == 8000


def test_no_prompt_loses_words_to_the_length_limit(words):
    assert max(map(len, words)) <= text.MAX_WORDS


def test_the_test_split_is_large_enough_and_holds_no_new_words(words):
    splits = {name: [] for name in split.SPLITS}
    for prompt in words:
        splits[split.split_of(prompt)].append(prompt)
    assert len(splits["test"]) > 300 and len(splits["train"]) > 7000
    known = set(itertools.chain.from_iterable(splits["train"]))
    assert known.issuperset(itertools.chain.from_iterable(splits["test"]))


def test_every_word_survives_the_text_rule(pairs):
    for _, prompt in pairs[:1000]:
        written = re.findall(r"\S+", prompt.replace(",", ""))
        assert text.split_words(prompt) == [w for w in written if w != "8"]


def test_every_slot_of_the_scene_is_in_the_prompt(pairs):
    for scene, prompt in pairs[:1000]:
        named = [scene.medium, scene.colour, scene.relation, scene.other]
        named += [scene.other_colour, scene.place, scene.weather, scene.artist]
        noun = scene.subject if scene.count == 1 else grammar.SUBJECTS[scene.subject]
        number = "" if scene.count == 1 else grammar.COUNTS[scene.count]
        for word in filter(None, [*named, noun, number]):
            assert re.search(rf"\b{word}\b", prompt), (scene, prompt)


def test_no_prompt_tells_left_from_right(words):
    assert not set(itertools.chain.from_iterable(words)) & {
        "left",
        "right",
        "east",
        "west",
        "clockwise",
    }


def test_one_ink_names_no_colour(pairs, words):
    for (scene, _), prompt in zip(pairs, words, strict=True):
        assert (scene.colour is None) == (scene.medium in grammar.ONE_INK)
        if scene.colour is None:
            assert not set(grammar.COLOURS) & set(prompt)


def test_shares_of_wordings_and_unseen_words(pairs):
    usual = sum(p.startswith(grammar.word_usually(s)) for s, p in pairs) / 8000
    assert 0.74 < usual < 0.82
    unseen = sum(any(words in p for words in grammar.UNSEEN) for _, p in pairs)
    assert 0.11 < unseen / 8000 < 0.17


def test_each_value_is_drawn_often_enough_to_learn(pairs):
    for field in dataclasses.fields(Scene):
        values = [getattr(scene, field.name) for scene, _ in pairs]
        assert min(values.count(value) for value in set(values)) > 250, field.name


def test_a_longer_list_begins_with_the_shorter():
    assert grammar.draw_prompts(9, 3)[:5] == grammar.draw_prompts(5, 3)
    assert grammar.draw_prompts(5, 3) != grammar.draw_prompts(5, 4)


def test_stated_ceiling(pairs, words):
    some = pairs[:2000]
    usual = [text.split_words(grammar.word_usually(scene)) for scene, _ in some]
    score = 100 * corpus_bleu([[prompt] for prompt in words[:2000]], usual)
    stated = int(re.search(r"BLEU-4 (\d+)", grammar.__doc__)[1])
    assert abs(score - stated) < 1


def test_no_subject_is_also_an_other():
    # One cat above one star must not also be one star below one cat.
    assert not set(grammar.SUBJECTS) & set(grammar.OTHERS)


def test_weather_stays_out_of_doors():
    rng = random.Random(0)
    for scene in (grammar.draw_scene(rng) for _ in range(500)):
        assert not (scene.weather and scene.place in grammar.WITHOUT_WEATHER)
