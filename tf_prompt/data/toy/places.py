"""The toy set's backgrounds: eight places, five of them in five kinds of weather."""

import dataclasses
import functools
import math
import random

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from tf_prompt.data.toy.sprites import RGB, WHITE, Pen, mix

# Images are drawn on a square of this many pixels, in units of UNITS a side.
CANVAS_SIZE, UNITS = 192, 96
SCALE = CANVAS_SIZE // UNITS
# How far a background fades, so that the things before it stand out.
_HAZE_SHARE = 0.2


@dataclasses.dataclass(frozen=True)
class _Light:
    top: RGB
    bottom: RGB
    tint: RGB
    tint_share: float


_LIGHTS = {
    None: _Light((104, 178, 240), (206, 236, 252), WHITE, 0.0),
    "sunset": _Light((226, 84, 96), (255, 206, 110), (214, 92, 60), 0.42),
    "night": _Light((10, 12, 52), (44, 44, 108), (14, 16, 60), 0.5),
    "rain": _Light((96, 104, 118), (150, 158, 170), (92, 100, 116), 0.5),
    "fog": _Light((214, 218, 222), (238, 240, 240), (224, 228, 230), 0.62),
    "rainbow": _Light((104, 178, 240), (206, 236, 252), WHITE, 0.0),
}
_RAINBOW = (
    (228, 48, 52),
    (255, 150, 40),
    (255, 230, 60),
    (70, 184, 80),
    (60, 110, 226),
    (140, 70, 190),
)


class Ground:
    """An image while its background is drawn.

    Args:
        weather: a key of `grammar.WEATHERS` or None; it tints each colour.
        sky: colours of the top and the bottom; None takes the weather's.
    """

    def __init__(self, weather: str | None, sky: tuple[RGB, RGB] | None = None):
        self._light = _LIGHTS[weather]
        top, bottom = sky or (self._light.top, self._light.bottom)
        self.image = _gradient(top, bottom).copy()
        self.pen = Pen(self.image, SCALE)
        self.haze = Image.new("RGB", self.image.size, mix(top, bottom, 0.5))

    def tint(self, colour: RGB) -> RGB:
        """Returns the colour as it looks in this weather."""
        return mix(colour, self._light.tint, self._light.tint_share)


@functools.cache
def _gradient(top: RGB, bottom: RGB) -> Image.Image:
    size = (CANVAS_SIZE, CANVAS_SIZE)
    mask = Image.linear_gradient("L").resize(size)
    return Image.composite(
        Image.new("RGB", size, bottom), Image.new("RGB", size, top), mask
    )


def draw_background(place: str, weather: str | None, rng: random.Random) -> Image.Image:
    """Draws the background: a place in its weather.

    Args:
        place: a key of `grammar.PLACES`.
        weather: a key of `grammar.WEATHERS`, or None.
        rng: moves the details.

    Returns:
        RGB image, `CANVAS_SIZE` pixels a side.
    """
    ground = Ground(weather, _INDOOR_SKIES.get(place))
    if weather in _SKY_PAINTERS:
        _SKY_PAINTERS[weather](ground.pen, rng)
    elif weather is None and place not in _INDOOR_SKIES:
        _paint_clouds(ground.pen, rng)
    _PLACE_PAINTERS[place](ground, rng)
    return Image.blend(ground.image, ground.haze, _HAZE_SHARE)


def cover_with_weather(
    image: Image.Image, weather: str | None, rng: random.Random
) -> Image.Image:
    """Draws rain or fog over the background; other weather changes nothing."""
    if weather == "rain":
        return _rain_on(image, rng)
    if weather == "fog":
        return _fog_on(image, rng)
    return image


def _paint_clouds(pen: Pen, rng: random.Random) -> None:
    for _ in range(2):
        x, y = rng.uniform(8, 88), rng.uniform(6, 22)
        for shift, radius in ((-6, 4), (0, 6), (6, 4)):
            pen.oval(WHITE, x + shift, y, radius + 1, radius * 0.7)


def _paint_sunset(pen: Pen, rng: random.Random) -> None:
    x, y = rng.uniform(36, 60), 50
    for ray in range(0, 360, 20):
        angle = math.radians(ray + 4)
        left, right = angle - 0.07, angle + 0.07
        tips = (math.cos(left), math.sin(left), math.cos(right), math.sin(right))
        corners = [x + 110 * tips[0], y + 110 * tips[1], x + 110 * tips[2]]
        pen.polygon((255, 176, 96), x, y, *corners, y + 110 * tips[3])
    pen.oval((255, 240, 150), x, y, 25)


def _paint_night(pen: Pen, rng: random.Random) -> None:
    for _ in range(34):
        pen.oval((255, 250, 210), rng.uniform(2, 94), rng.uniform(2, 62), 0.8)
    x, y = rng.choice((15, 81)) + rng.uniform(-3, 3), rng.uniform(13, 18)
    pen.oval((255, 244, 190), x, y, 9)
    pen.oval((14, 16, 60), x + 4.5, y - 2, 8)


def _paint_rainbow(pen: Pen, rng: random.Random) -> None:
    x = rng.uniform(44, 52)
    for band, colour in enumerate(_RAINBOW):
        pen.arc(colour, 3.6, x, 62, 56 - 3.2 * band, 180, 360)


_SKY_PAINTERS = {
    "sunset": _paint_sunset,
    "night": _paint_night,
    "rainbow": _paint_rainbow,
}


def _rain_on(image: Image.Image, rng: random.Random) -> Image.Image:
    drawing = ImageDraw.Draw(image)
    for _ in range(75):
        x, y = rng.uniform(0, CANVAS_SIZE), rng.uniform(-10, CANVAS_SIZE)
        drawing.line((x, y, x - 5, y + 17), fill=(212, 226, 244), width=2)
    return image


def _fog_on(image: Image.Image, rng: random.Random) -> Image.Image:
    mask = ImageChops.offset(_fog_banks(), 0, rng.randrange(-12, 13))
    return Image.composite(Image.new("RGB", image.size, (236, 239, 240)), image, mask)


@functools.cache
def _fog_banks() -> Image.Image:
    mask = Image.new("L", (CANVAS_SIZE, CANVAS_SIZE), 40)
    pen = Pen(mask, SCALE)
    for y in range(4, 110, 20):
        pen.box(150, 0, y, 96, y + 7)
    return mask.filter(ImageFilter.GaussianBlur(5))


def _paint_beach(ground: Ground, rng: random.Random) -> None:
    pen, tint = ground.pen, ground.tint
    pen.box(tint((28, 150, 190)), 0, 50, 96, 70)
    for y in (55, 61):
        pen.line(tint((150, 222, 232)), 1, 0, y, 96, y)
    pen.box(tint((250, 250, 245)), 0, 67, 96, 71)
    pen.box(tint((246, 216, 150)), 0, 70, 96, 96)
    x, side = rng.choice(((9, 1), (87, -1)))
    pen.line(tint((134, 92, 52)), 4, x, 82, x + 3 * side, 30)
    for tip_x, tip_y in ((-14, 26), (-11, 38), (15, 24), (14, 38), (2, 14)):
        leaf = (x + 3 * side, 30, x + tip_x * side, tip_y)
        pen.line(tint((40, 140, 70)), 4, *leaf)


def _paint_forest(ground: Ground, rng: random.Random) -> None:
    pen, tint = ground.pen, ground.tint
    pen.box(tint((70, 120, 60)), 0, 72, 96, 96)
    for shade, base, step in (((36, 96, 66), 70, 13), ((22, 116, 58), 78, 19)):
        start = rng.uniform(-step, 0)
        for tree in range(10):
            x, top = start + tree * step, base - rng.uniform(46, 56)
            pen.box(tint((96, 66, 44)), x - 1.5, base - 6, x + 1.5, base + 4)
            for part in (0, 1, 2):
                y, half = top + part * 13, 5 + 2 * part
                pen.polygon(tint(shade), x, y, x - half, y + 20, x + half, y + 20)


def _paint_city(ground: Ground, rng: random.Random) -> None:
    pen, tint = ground.pen, ground.tint
    x = rng.uniform(-8, 0)
    while x < 96:
        width, top = rng.choice((13, 16, 19)), rng.uniform(14, 46)
        grey = rng.choice(((104, 108, 128), (132, 120, 124), (84, 92, 116)))
        pen.box(tint(grey), x, top, x + width, 84)
        for column in range(2, width - 3, 5):
            for row in range(int(top) + 4, 80, 7):
                pen.box((255, 224, 120), x + column, row, x + column + 2, row + 3)
        x += width + 1
    pen.box(tint((70, 72, 80)), 0, 82, 96, 96)
    for dash in range(2, 96, 16):
        pen.box(tint((240, 240, 230)), dash, 88, dash + 8, 90)


def _paint_desert(ground: Ground, rng: random.Random) -> None:
    pen, tint = ground.pen, ground.tint
    shift = rng.uniform(-8, 8)
    pen.oval(tint((232, 170, 92)), 24 + shift, 92, 52, 38)
    pen.oval(tint((214, 148, 74)), 84 + shift, 96, 48, 34)
    pen.box(tint((240, 188, 112)), 0, 80, 96, 96)
    for x, foot, size in ((10, 82, 1.1), (86, 86, 1.25)):
        x += rng.uniform(-3, 3)
        green = tint((52, 128, 62))
        pen.line(green, 6 * size, x, foot, x, foot - 36 * size)
        pen.oval(green, x, foot - 36 * size, 2.8 * size)
        for side, height in ((-1, 16), (1, 22)):
            elbow = x + 9 * size * side
            level = foot - height * size
            pen.line(green, 4 * size, x, level, elbow, level, elbow, level - 10 * size)


def _paint_mountains(ground: Ground, rng: random.Random) -> None:
    pen, tint = ground.pen, ground.tint
    for x, top, half in ((18, 22, 40), (78, 18, 42), (46, 36, 34)):
        x += rng.uniform(-5, 5)
        pen.polygon(tint((104, 112, 150)), x, top, x - half, 84, x + half, 84)
        pen.polygon(tint((80, 88, 128)), x, top, x + half, 84, x + half * 0.2, 84)
        cap, edge = top + 20, half * 20 / (84 - top)
        snow = (x - edge, cap, x - edge / 2, cap - 5, x, cap, x + edge / 2, cap - 5)
        pen.polygon(tint((252, 252, 255)), x, top, *snow, x + edge, cap)
    pen.box(tint((128, 164, 104)), 0, 80, 96, 96)


def _paint_moon(ground: Ground, rng: random.Random) -> None:
    pen = ground.pen
    for _ in range(26):
        pen.oval(WHITE, rng.uniform(2, 94), rng.uniform(2, 56), 0.7)
    x, y = rng.choice((14, 82)) + rng.uniform(-3, 3), rng.uniform(12, 17)
    pen.oval((56, 130, 220), x, y, 9)
    pen.oval((90, 190, 110), x - 2, y - 2, 4, 3)
    pen.oval((90, 190, 110), x + 3, y + 4, 3, 2)
    pen.oval((176, 176, 184), 48, 116, 90, 58)
    for x, y, radius in (
        (10, 80, 8),
        (34, 90, 9),
        (62, 78, 7),
        (86, 88, 9),
        (48, 68, 5),
    ):
        x += rng.uniform(-4, 4)
        pen.oval((126, 126, 138), x, y, radius, radius * 0.45)
        pen.oval((150, 150, 160), x, y + 1, radius * 0.8, radius * 0.3)


def _paint_sea(ground: Ground, rng: random.Random) -> None:
    pen = ground.pen
    for x in (12, 44, 76):
        x += rng.uniform(-6, 6)
        pen.polygon((70, 196, 214), x, 0, x + 9, 0, x + 2, 84, x - 14, 84)
    pen.oval((206, 186, 130), 48, 100, 70, 16)
    for x in (5, 15, 81, 91):
        x += rng.uniform(-2, 2)
        points = []
        for step in range(8):
            points += [x + 3 * (-1) ** step, 92 - step * 6]
        pen.line((24, 120, 84), 3, *points)
    for _ in range(16):
        x, y = rng.uniform(3, 93), rng.uniform(4, 84)
        pen.arc((226, 250, 255), 1, x, y, rng.uniform(1.6, 3.4))


def _paint_library(ground: Ground, rng: random.Random) -> None:
    pen = ground.pen
    books = (
        (166, 64, 58),
        (70, 110, 90),
        (66, 84, 130),
        (196, 156, 84),
        (130, 84, 120),
    )
    for shelf in (20, 42, 64, 86):
        x = rng.uniform(0, 2)
        while x < 96:
            width, height = rng.uniform(3, 6), rng.uniform(12, 17)
            pen.box(rng.choice(books), x, shelf - height, x + width - 0.8, shelf)
            x += width
        pen.box((150, 98, 54), 0, shelf, 96, shelf + 4)


_INDOOR_SKIES = {
    "moon": ((4, 4, 16), (22, 22, 44)),
    "sea": ((30, 150, 196), (8, 60, 130)),
    "library": ((72, 44, 26), (72, 44, 26)),
}
_PLACE_PAINTERS = {
    "beach": _paint_beach,
    "forest": _paint_forest,
    "city": _paint_city,
    "desert": _paint_desert,
    "mountains": _paint_mountains,
    "moon": _paint_moon,
    "sea": _paint_sea,
    "library": _paint_library,
}
