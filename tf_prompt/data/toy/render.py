"""Draws the image of a toy scene: background, artist, things, medium."""

import functools
import random

from PIL import Image

from tf_prompt.data.toy import artists, media, sprites
from tf_prompt.data.toy import places as toy_places
from tf_prompt.data.toy.grammar import Scene
from tf_prompt.data.toy.places import CANVAS_SIZE, SCALE

# In units of 1/96 of the side.
_OTHER_SIZE = 31


def draw_image(scene: Scene, seed: int, image_size: int) -> Image.Image:
    """Draws a scene; the same scene and seed give the same pixels.

    Args:
        scene: the scene.
        seed: int, seed of positions, sizes and mirroring.
        image_size: int > 0, side of the image, pixels.

    Returns:
        RGB image.
    """
    rng = random.Random(seed)
    image = toy_places.draw_background(scene.place, scene.weather, rng)
    artists.paint_behind(image, scene.artist, rng)
    image = toy_places.cover_with_weather(image, scene.weather, rng)
    image = media.prepare_background(image, scene.medium, rng)
    _put_things(image, scene, rng)
    artists.paint_before(image, scene.artist, rng)
    image = media.finish(image, scene.medium, rng)
    if image_size * 2 == CANVAS_SIZE:
        return image.reduce(2)  # The same pixels as below, in a third of the time.
    return image.resize((image_size, image_size), Image.Resampling.BOX)


def _put_things(image: Image.Image, scene: Scene, rng: random.Random) -> None:
    side = rng.choice((-1, 1))
    inks = media.choose_inks(scene.medium, scene.colour)
    size, places = arrange(scene.count, scene.relation, side)
    size *= rng.uniform(0.94, 1.04)
    for place in places:
        _stick(image, scene.subject, inks, size, place, rng)
    if scene.relation is not None:
        inks = media.choose_inks(scene.medium, scene.other_colour)
        size = _OTHER_SIZE * rng.uniform(0.94, 1.04)
        place = _place_other(scene.relation, side, rng)
        _stick(image, scene.other, inks, size, place, rng)


def _stick(image, name: str, inks, size: float, place, rng: random.Random) -> None:
    x, y = (position + rng.uniform(-1.5, 1.5) for position in place)
    pixels = round(size * SCALE)
    sticker = sprites.fit_sticker(name, inks, pixels, rng.random() < 0.5)
    corner = round(x * SCALE - pixels / 2), round(y * SCALE - pixels / 2)
    image.paste(sticker, corner, sticker)


def _place_other(relation: str, side: int, rng: random.Random) -> tuple[float, float]:
    if relation == "beside":
        return 48 + 28 * side, 48 + rng.uniform(-8, 8)
    return 48 + rng.uniform(-16, 16), 73 if relation == "above" else 23


@functools.cache
def arrange(count: int, relation: str | None, side: int):
    """Places the subjects of a scene.

    Args:
        count: number of subjects, 1 to 4.
        relation: one of `grammar.RELATIONS`, or None.
        side: 1 or -1, the side of the other thing for `beside`.

    Returns:
        The size of the subjects and the centre x, y of each, in 1/96 of the side.
    """
    if relation is None:
        size, spread_x, spread_y, x, y = (56, 38, 34, 32)[count - 1], 19, 18, 48, 48
    elif relation == "beside":
        size, spread_x, spread_y = (44, 33, 26, 25)[count - 1], 13, 16
        x, y = 48 - 15 * side, 48
    else:
        size, spread_x, spread_y = (43, 36, 26, 25)[count - 1], 19, 12
        x, y = 48, 32 if relation == "above" else 64
    if count == 1:
        return size, ((x, y),)
    if count == 2 and relation == "beside":
        return size, ((x - 2, y - spread_y), (x + 2, y + spread_y))
    if count == 2:
        return size, ((x - spread_x, y), (x + spread_x, y))
    top, bottom, left, right = y - spread_y, y + spread_y, x - spread_x, x + spread_x
    if count == 3:
        return size, ((x, top), (left, bottom), (right, bottom))
    return size, ((left, top), (right, top), (left, bottom), (right, bottom))
