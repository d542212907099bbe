"""The toy set's six artists: what each adds near the borders of an image."""

import math
import random

from PIL import Image

from tf_prompt.data.toy.places import SCALE, UNITS
from tf_prompt.data.toy.sprites import Pen

_FRAME_WIDTH = 8


def paint_behind(image: Image.Image, artist: str | None, rng: random.Random) -> None:
    """Draws the artist's marks on the background; None draws nothing."""
    if artist in _BEHIND:
        _BEHIND[artist](Pen(image, SCALE), rng)


def paint_before(image: Image.Image, artist: str | None, rng: random.Random) -> None:
    """Draws the artist's marks over the things; None draws nothing."""
    if artist in _BEFORE:
        _BEFORE[artist](Pen(image, SCALE), rng)


def _paint_swirls(pen: Pen, rng: random.Random) -> None:
    colours = ((250, 214, 84), (238, 240, 226), (70, 120, 206), (30, 60, 140))
    for home_x, home_y in ((11, 11), (85, 11), (48, 6), (8, 48), (88, 48)):
        x, y = home_x + rng.uniform(-3, 3), home_y + rng.uniform(-3, 3)
        turn = rng.uniform(0, 360)
        for ring, colour in enumerate(colours):
            start, radius = turn + 70 * ring, 3 + 3.4 * ring
            pen.arc(colour, 2.2, x, y, radius, start, start + 150)
            pen.arc(colour, 2.2, x, y, radius, start + 180, start + 330)


def _paint_dots(pen: Pen, rng: random.Random) -> None:
    shift = rng.uniform(-4, 4)
    for step in range(-1, 10):
        along, colour = shift + 12 * step, ((230, 30, 60), (255, 250, 250))[step % 2]
        for depth, radius in ((4, 4.4), (14, 2.6)):
            for x, y in _mirror_four(along, depth):
                pen.oval(colour, x, y, radius)


def _paint_gold(pen: Pen, rng: random.Random) -> None:
    golds = ((222, 170, 40), (250, 210, 90), (184, 128, 24))
    shift = rng.uniform(-4, 4)
    for step in range(-1, 10):
        for x, y in _mirror_four(shift + 11 * step, 6):
            pen.box(rng.choice(golds), x - 5, y - 5, x + 5, y + 5)
            pen.box((40, 30, 24), x - 3, y - 3, x + 3, y + 3)
            pen.box((255, 236, 170), x - 1.4, y - 1.4, x + 1.4, y + 1.4)


def _mirror_four(along: float, depth: float):
    """Returns one point near each border, `depth` units from it."""
    far = UNITS - depth
    return (along, depth), (along, far), (depth, along), (far, along)


def _paint_frame(pen: Pen, rng: random.Random) -> None:
    colours = ((222, 32, 38), (250, 246, 236), (30, 76, 176), (250, 214, 40))
    width, turn = _FRAME_WIDTH, rng.randrange(4)
    for part in range(4):
        start, end = 24 * part, 24 * part + 24
        strips = (
            (start, 0, end, width),
            (UNITS - width, start, UNITS, end),
            (start, UNITS - width, end, UNITS),
            (0, start, width, end),
        )
        for side, strip in enumerate(strips):
            pen.box(colours[(turn + part + side) % 4], *strip)
            pen.line((16, 16, 20), 2, strip[0], strip[1], strip[0], strip[3])
            pen.line((16, 16, 20), 2, strip[0], strip[1], strip[2], strip[1])
    inner, outer = width, UNITS - width
    border = (inner, inner, outer, inner, outer, outer, inner, outer, inner, inner)
    pen.line((16, 16, 20), 2, *border)


def _paint_wave(pen: Pen, rng: random.Random) -> None:
    shift = rng.uniform(-12, 12)
    for layer, colour in enumerate(((206, 228, 238), (62, 112, 170), (24, 50, 110))):
        points = [0, UNITS]
        for x in range(0, UNITS + 1, 3):
            crest = abs(math.sin((x + shift + 7 * layer) * math.pi / 24))
            points += [x, 76 + 5 * layer + 9 * (1 - crest)]
        pen.polygon(colour, *points, UNITS, UNITS)
    for claw in range(-1, 5):
        x = claw * 24 - shift + 12
        for foam in range(-3, 4):
            pen.oval((250, 252, 252), x + 3 * foam, 78 + abs(foam) * 1.3, 2)


def _paint_lilies(pen: Pen, rng: random.Random) -> None:
    pen.box((92, 140, 170), 0, 82, UNITS, UNITS)
    for dab in range(40):
        x, y = rng.uniform(0, UNITS), rng.uniform(82, 95)
        pen.oval(((140, 186, 200), (150, 150, 206))[dab % 2], x, y, 3, 0.9)
    for lily in range(6):
        x, y = 7 + 16.5 * lily + rng.uniform(-2, 2), rng.choice((85, 91))
        pen.oval((70, 146, 90), x, y, 7.5, 3.4)
        for petal in (-1, 0, 1):
            pen.oval((246, 176, 206), x + 2.6 * petal, y - 2.4, 1.8, 3)
        pen.oval((255, 240, 160), x, y - 1.6, 1.3)


_BEHIND = {
    "van gogh": _paint_swirls,
    "kusama": _paint_dots,
    "klimt": _paint_gold,
    "hokusai": _paint_wave,
    "monet": _paint_lilies,
}
_BEFORE = {"mondrian": _paint_frame}
