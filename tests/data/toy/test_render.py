"""The pictures of the toy set: pure, and different for every slot."""

import dataclasses
import itertools

import numpy as np
import pytest

from tests.data.toy.test_grammar import SCENE
from tf_prompt.data.toy import grammar, render

ALONE = {"relation": None, "other": None, "other_colour": None}
CHANGES = [
    *({"medium": medium} for medium in list(grammar.MEDIA)[1:]),
    *({"subject": subject} for subject in grammar.SUBJECTS if subject != "cat"),
    *({"count": count} for count in (1, 3, 4)),
    *({"colour": colour} for colour in grammar.COLOURS if colour != "red"),
    {"relation": "below"},
    {"relation": "beside"},
    ALONE,
    *({"other": other} for other in grammar.OTHERS if other != "star"),
    *({"other_colour": colour} for colour in grammar.COLOURS if colour != "blue"),
    *({"place": place} for place in grammar.PLACES if place != "beach"),
    *({"weather": weather} for weather in (None, "night", "rain", "fog", "rainbow")),
    *({"artist": artist} for artist in (None, *grammar.ARTISTS[:-1])),
]


def draw(scene, seed=5, image_size=96):
    return np.asarray(render.draw_image(scene, seed, image_size))


def _changed_share(first, second) -> float:
    difference = np.abs(first.astype(int) - second).max(axis=-1)
    return float(np.mean(difference > 40))


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_each_slot_changes_the_picture(change):
    changed = dataclasses.replace(SCENE, **change)
    # 46 of 96 x 96 pixels: a patch of 7 x 7, a small thing's coloured part.
    assert _changed_share(draw(SCENE), draw(changed)) > 0.005


def test_the_same_scene_and_seed_give_the_same_pixels():
    np.testing.assert_array_equal(draw(SCENE), draw(SCENE))


def test_the_seed_moves_things():
    assert _changed_share(draw(SCENE, 1), draw(SCENE, 2)) > 0.03


@pytest.mark.parametrize("image_size", [32, 96, 192])
def test_pictures_have_the_size_asked_for(image_size):
    image = draw(SCENE, image_size=image_size)
    assert image.shape == (image_size, image_size, 3) and image.dtype == np.uint8


def test_half_size_is_the_mean_of_each_two_by_two():
    large, small = draw(SCENE, image_size=192), draw(SCENE, image_size=96)
    means = large.reshape(96, 2, 96, 2, 3).mean(axis=(1, 3))
    assert np.abs(means - small).max() <= 0.5


@pytest.mark.parametrize("medium", grammar.ONE_INK)
def test_one_ink_shows_one_hue(medium):
    plain = dataclasses.replace(
        SCENE, medium=medium, colour=None, other_colour=None, artist=None
    )
    image = draw(plain).astype(int)
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    assert np.all(red <= green + 1) and np.all(green <= blue + 1)


def test_things_stay_inside_the_picture():
    for count, relation, side in itertools.product(
        (1, 2, 3, 4), (None, *grammar.RELATIONS), (-1, 1)
    ):
        size, places = render.arrange(count, relation, side)
        assert len(places) == count
        for position in itertools.chain.from_iterable(places):
            # Two units more than seeds move and grow them.
            assert 6 <= position - size / 2 and position + size / 2 <= 90
