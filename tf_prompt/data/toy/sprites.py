"""The toy set's things: thirteen stickers, each drawn with four inks."""

import dataclasses
import functools
import math

from PIL import Image, ImageDraw, ImageFilter, ImageOps

RGB = tuple[int, int, int]

COLOUR_VALUES: dict[str, RGB] = {
    "red": (226, 38, 40),
    "orange": (255, 138, 20),
    "yellow": (255, 226, 44),
    "green": (46, 172, 66),
    "blue": (30, 96, 232),
    "purple": (146, 44, 184),
    "pink": (255, 140, 196),
    "white": (246, 246, 250),
}
BLACK, WHITE = (34, 30, 48), (255, 255, 255)

# Stickers are drawn once at this size, halved for smooth edges, and then scaled down
# for each image, where none is larger than 117 pixels.
_MASTER_SIZE = 256
_MARGIN = 18


@dataclasses.dataclass(frozen=True)
class Inks:
    """Colours of a sticker.

    Args:
        body: most of its area.
        shade: darker details.
        light: windows, bellies and other light details.
        line: outline, eyes and strokes.
        halo: rim that separates it from the background; None leaves it out.
    """

    body: RGB
    shade: RGB
    light: RGB
    line: RGB
    halo: RGB | None


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """Blends two colours; `share` is the part of the second, 0 to 1."""
    return tuple(round(a + (b - a) * share) for a, b in zip(first, second, strict=True))


class Pen:
    """Draws on an image in its own units.

    Args:
        image: `PIL.Image.Image` drawn on.
        scale: pixels in one unit.
        origin: pixels left of and above the unit square.
    """

    def __init__(self, image: Image.Image, scale: float, origin: float = 0):
        self._draw = ImageDraw.Draw(image)
        self._scale, self._origin = scale, origin

    def _pixels(self, numbers) -> list[float]:
        return [self._origin + number * self._scale for number in numbers]

    def polygon(self, colour, *numbers: float) -> None:
        """Fills a polygon; `numbers` are x, y of each corner in turn."""
        self._draw.polygon(self._pixels(numbers), fill=colour)

    def box(self, colour, *numbers: float) -> None:
        """Fills the rectangle from x, y to x, y."""
        self._draw.rectangle(self._pixels(numbers), fill=colour)

    def oval(self, colour, x: float, y: float, x_radius: float, y_radius=None) -> None:
        """Fills an ellipse around x, y; one radius makes it a circle."""
        y_radius = x_radius if y_radius is None else y_radius
        corners = (x - x_radius, y - y_radius, x + x_radius, y + y_radius)
        self._draw.ellipse(self._pixels(corners), fill=colour)

    def pie(self, colour, x: float, y: float, radius: float, start: float, end: float):
        """Fills a slice of a circle; degrees, clockwise from the right."""
        corners = self._pixels((x - radius, y - radius, x + radius, y + radius))
        self._draw.pieslice(corners, start, end, fill=colour)

    def line(self, colour, width: float, *numbers: float) -> None:
        """Strokes a line through the points x, y."""
        pixels = max(1, round(width * self._scale))
        self._draw.line(self._pixels(numbers), fill=colour, width=pixels, joint="curve")

    def arc(self, colour, width: float, x, y, radius: float, start=0.0, end=360.0):
        """Strokes part of a circle; degrees, clockwise from the right."""
        corners = self._pixels((x - radius, y - radius, x + radius, y + radius))
        pixels = max(1, round(width * self._scale))
        self._draw.arc(corners, start, end, fill=colour, width=pixels)


@functools.cache
def draw_sticker(name: str, inks: Inks) -> Image.Image:
    """Draws one thing, outlined, on a transparent square.

    Args:
        name: one of `grammar.SUBJECTS` or `grammar.OTHERS`.
        inks: its colours.

    Returns:
        A shared RGBA image: resize or copy it, do not draw on it.
    """
    image = Image.new("RGBA", (_MASTER_SIZE, _MASTER_SIZE))
    scale = (_MASTER_SIZE - 2 * _MARGIN) / 100
    _PAINTERS[name](Pen(image, scale, _MARGIN), inks)
    shape = image.getchannel("A")
    outlined = _behind(image, shape, inks.line, 4)
    if inks.halo is not None:
        outlined = _behind(outlined, shape, inks.halo, 10)
    return outlined.reduce(2)


def _behind(image: Image.Image, shape: Image.Image, colour: RGB, width: int):
    # A blur cut off near its foot grows a shape as MaxFilter does, 20 times faster.
    grown = shape.filter(ImageFilter.GaussianBlur(width))
    rim = Image.new("RGBA", image.size, (*colour, 255))
    rim.putalpha(grown.point([max(0, min(255, 9 * v - 200)) for v in range(256)]))
    rim.alpha_composite(image)
    return rim


# Enough for what one image asks for twice: four cats need two stickers.
@functools.lru_cache(maxsize=8)
def fit_sticker(name: str, inks: Inks, size: int, mirrored: bool) -> Image.Image:
    """Returns the image of `draw_sticker`, resized to `size` pixels a side."""
    sticker = draw_sticker(name, inks)
    if mirrored:
        sticker = ImageOps.mirror(sticker)
    return sticker.resize((size, size), Image.Resampling.BILINEAR)


def _paint_cat(pen: Pen, inks: Inks) -> None:
    pen.line(inks.body, 12, 78, 92, 96, 80, 94, 56)
    pen.oval(inks.body, 52, 76, 30, 24)
    pen.polygon(inks.body, 18, 46, 18, 0, 48, 22)
    pen.polygon(inks.body, 82, 46, 82, 0, 52, 22)
    pen.polygon(inks.shade, 24, 30, 24, 11, 38, 22)
    pen.polygon(inks.shade, 76, 30, 76, 11, 62, 22)
    pen.oval(inks.body, 50, 40, 34, 28)
    for side in (-1, 1):
        pen.oval(inks.light, 50 + 14 * side, 36, 8, 9)
        pen.oval(inks.line, 50 + 14 * side, 37, 4.5, 7.5)
        pen.line(inks.line, 2.5, 50 + 10 * side, 52, 50 + 40 * side, 46)
        pen.line(inks.line, 2.5, 50 + 10 * side, 55, 50 + 40 * side, 57)
    pen.polygon(inks.line, 44, 47, 56, 47, 50, 55)
    pen.oval(inks.light, 52, 82, 14, 15)


def _paint_fish(pen: Pen, inks: Inks) -> None:
    pen.polygon(inks.shade, 62, 50, 100, 20, 92, 50, 100, 80)
    pen.polygon(inks.shade, 26, 30, 46, 8, 62, 32)
    pen.polygon(inks.shade, 36, 70, 50, 90, 58, 68)
    pen.oval(inks.body, 38, 50, 38, 26)
    pen.oval(inks.light, 20, 44, 9)
    pen.oval(inks.line, 18, 44, 5)
    for x in (38, 50, 62):
        pen.arc(inks.shade, 4, x - 4, 50, 14, -60, 60)


def _paint_butterfly(pen: Pen, inks: Inks) -> None:
    for side in (-1, 1):
        pen.line(inks.line, 3, 50, 22, 50 + 16 * side, 2)
        pen.oval(inks.body, 50 + 28 * side, 32, 24, 24)
        pen.oval(inks.body, 50 + 22 * side, 72, 18, 20)
        pen.polygon(inks.body, 50, 56, 50 + 48 * side, 22, 50 + 30 * side, 76)
        pen.oval(inks.light, 50 + 31 * side, 30, 10)
        pen.oval(inks.shade, 50 + 23 * side, 72, 8)
    pen.oval(inks.line, 50, 54, 6, 34)


def _paint_house(pen: Pen, inks: Inks) -> None:
    pen.box(inks.shade, 68, 4, 82, 40)
    pen.box(inks.body, 12, 44, 88, 98)
    pen.polygon(inks.shade, -2, 48, 50, 2, 102, 48)
    pen.box(inks.line, 42, 64, 60, 98)
    for x in (20, 68):
        pen.box(inks.light, x, 58, x + 14, 74)
        pen.line(inks.line, 3, x + 7, 58, x + 7, 74)


def _paint_car(pen: Pen, inks: Inks) -> None:
    pen.polygon(inks.body, 18, 50, 32, 22, 70, 22, 86, 50)
    pen.polygon(inks.light, 27, 48, 36, 29, 49, 29, 49, 48)
    pen.polygon(inks.light, 55, 48, 55, 29, 67, 29, 77, 48)
    pen.box(inks.body, 0, 48, 100, 72)
    pen.box(inks.shade, 0, 64, 100, 72)
    pen.oval(inks.light, 6, 56, 5)
    for x in (24, 76):
        pen.oval(inks.line, x, 72, 15)
        pen.oval(inks.light, x, 72, 6)


def _paint_rocket(pen: Pen, inks: Inks) -> None:
    pen.polygon(inks.shade, 32, 52, 10, 84, 34, 80)
    pen.polygon(inks.shade, 68, 52, 90, 84, 66, 80)
    pen.polygon(inks.light, 38, 80, 62, 80, 50, 106)
    pen.oval(inks.body, 50, 48, 21, 42)
    pen.polygon(inks.body, 36, 18, 50, -6, 64, 18)
    pen.box(inks.body, 34, 60, 66, 82)
    pen.polygon(inks.shade, 37, 18, 50, -4, 63, 18)
    pen.oval(inks.line, 50, 42, 13)
    pen.oval(inks.light, 50, 42, 9)


def _paint_mushroom(pen: Pen, inks: Inks) -> None:
    pen.polygon(inks.light, 38, 50, 62, 50, 70, 98, 30, 98)
    pen.pie(inks.body, 50, 52, 50, 180, 360)
    pen.box(inks.shade, 0, 52, 100, 58)
    for x, y, radius in ((50, 20, 9), (22, 38, 8), (78, 38, 8), (50, 44, 5)):
        pen.oval(inks.light, x, y, radius)


def _paint_flower(pen: Pen, inks: Inks) -> None:
    pen.line(inks.line, 7, 50, 40, 50, 102)
    pen.oval(inks.line, 66, 82, 15, 7)
    pen.oval(inks.line, 34, 90, 15, 7)
    for petal in range(5):
        angle = math.radians(72 * petal - 90)
        pen.oval(inks.body, 50 + 24 * math.cos(angle), 32 + 24 * math.sin(angle), 16)
    pen.oval(inks.shade, 50, 32, 14)
    pen.oval(inks.light, 50, 32, 9)


def _paint_star(pen: Pen, inks: Inks) -> None:
    points = []
    for corner in range(10):
        angle = math.radians(36 * corner - 90)
        radius = 24 if corner % 2 else 54
        points += [50 + radius * math.cos(angle), 54 + radius * math.sin(angle)]
    pen.polygon(inks.body, *points)


def _paint_heart(pen: Pen, inks: Inks) -> None:
    pen.oval(inks.body, 26, 32, 27)
    pen.oval(inks.body, 74, 32, 27)
    pen.polygon(inks.body, 3, 44, 50, 100, 97, 44, 74, 28, 50, 34, 26, 28)
    pen.oval(inks.light, 24, 28, 8)


def _paint_crown(pen: Pen, inks: Inks) -> None:
    spikes = (-2, 18, 26, 50, 50, 8, 74, 50, 102, 18, 90, 92)
    pen.polygon(inks.body, *spikes, 10, 92)
    pen.box(inks.shade, 9, 78, 91, 92)
    for x, y in ((0, 16), (50, 6), (100, 16)):
        pen.oval(inks.light, x, y, 7)


def _paint_balloon(pen: Pen, inks: Inks) -> None:
    pen.line(inks.line, 4, 50, 70, 44, 82, 54, 92, 48, 104)
    pen.polygon(inks.body, 50, 64, 40, 80, 60, 80)
    pen.oval(inks.body, 50, 34, 33, 38)
    pen.oval(inks.light, 38, 22, 7, 11)


def _paint_gift(pen: Pen, inks: Inks) -> None:
    for side in (-1, 1):
        bow = (50, 24, 50 + 34 * side, 0, 50 + 34 * side, 30)
        pen.polygon(inks.shade, *bow)
    pen.box(inks.body, 2, 26, 98, 48)
    pen.box(inks.body, 8, 48, 92, 100)
    pen.line(inks.line, 3, 4, 48, 96, 48)
    pen.box(inks.light, 42, 26, 58, 100)


_PAINTERS = {
    "cat": _paint_cat,
    "fish": _paint_fish,
    "butterfly": _paint_butterfly,
    "house": _paint_house,
    "car": _paint_car,
    "rocket": _paint_rocket,
    "mushroom": _paint_mushroom,
    "flower": _paint_flower,
    "star": _paint_star,
    "heart": _paint_heart,
    "crown": _paint_crown,
    "balloon": _paint_balloon,
    "gift": _paint_gift,
}
