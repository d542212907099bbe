"""The toy set's nine media: inks for the things, and a finish for the image."""

import functools
import random
from collections.abc import Callable

from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from tf_prompt.data.toy import sprites
from tf_prompt.data.toy.places import CANVAS_SIZE, SCALE, UNITS
from tf_prompt.data.toy.sprites import BLACK, WHITE, Inks, Pen, mix

_SIZE = (CANVAS_SIZE, CANVAS_SIZE)


def choose_inks(medium: str, colour: str | None) -> Inks:
    """Picks the inks of a thing.

    Args:
        medium: a key of `grammar.MEDIA`.
        colour: one of `grammar.COLOURS`; None in one ink.
    """
    if medium == "pencil sketch":
        return Inks((222, 222, 222), (150, 150, 150), WHITE, (40, 40, 44), WHITE)
    if medium == "blueprint":
        return Inks((60, 106, 196), WHITE, (150, 190, 245), WHITE, (24, 60, 140))
    value = sprites.COLOUR_VALUES[colour]
    if medium == "neon sign":
        dim = mix(value, (10, 8, 20), 0.5)
        return Inks(dim, value, mix(value, WHITE, 0.6), mix(value, WHITE, 0.35), None)
    halo = BLACK if medium == "stained glass window" else WHITE
    return Inks(value, mix(value, BLACK, 0.35), mix(value, WHITE, 0.75), BLACK, halo)


def prepare_background(
    image: Image.Image, medium: str, rng: random.Random
) -> Image.Image:
    """Applies the medium to the background, before the things are drawn."""
    if medium == "pencil sketch":
        return _hatch(ImageOps.autocontrast(image.convert("L")), rng)
    if medium == "blueprint":
        grey = ImageOps.autocontrast(image.convert("L"))
        return ImageOps.colorize(grey, (8, 24, 84), (120, 164, 236))
    texture = _TEXTURES.get(medium)
    return ImageChops.multiply(image, _shifted(texture(), rng)) if texture else image


def finish(image: Image.Image, medium: str, rng: random.Random) -> Image.Image:
    """Applies the medium to the whole image.

    Args:
        image: RGB, `CANVAS_SIZE` pixels a side.
        medium: a key of `grammar.MEDIA`.
        rng: moves the texture.

    Returns:
        A new image of the same size.
    """
    return _FINISHES[medium](image, rng)


def _shifted(texture: Image.Image, rng: random.Random) -> Image.Image:
    shifts = rng.randrange(CANVAS_SIZE), rng.randrange(CANVAS_SIZE)
    return ImageChops.offset(texture, *shifts)


def _framed(image: Image.Image, paper: Image.Image, box) -> Image.Image:
    framed = paper.copy()
    left, top, right, bottom = (round(edge * SCALE) for edge in box)
    inside = image.resize((right - left, bottom - top), Image.Resampling.BILINEAR)
    framed.paste(inside, (left, top))
    return framed


def _finish_oil(image: Image.Image, rng: random.Random) -> Image.Image:
    return _framed(image, _wooden_frame(), (5, 5, UNITS - 5, UNITS - 5))


@functools.cache
def _weave() -> Image.Image:
    texture = Image.new("L", _SIZE, 255)
    pen = ImageDraw.Draw(texture)
    for y in range(0, CANVAS_SIZE, 6):
        for x in range(0, CANVAS_SIZE, 6):
            over = (x + y) // 6 % 2
            box = (x, y, x + 5, y + 1) if over else (x, y, x + 1, y + 5)
            pen.rectangle(box, fill=178)
    return texture.convert("RGB")


@functools.cache
def _wooden_frame() -> Image.Image:
    frame = Image.new("RGB", _SIZE, (92, 54, 24))
    pen = Pen(frame, SCALE)
    for inset, colour in ((1, (206, 156, 70)), (2.5, (150, 96, 40)), (4, (60, 34, 16))):
        pen.box(colour, inset, inset, UNITS - inset, UNITS - inset)
    return frame


def _finish_watercolor(image: Image.Image, rng: random.Random) -> Image.Image:
    paper = Image.new("RGB", _SIZE, (252, 250, 244))
    washed = Image.blend(image.filter(ImageFilter.BoxBlur(1)), paper, 0.22)
    blotched = ImageChops.multiply(washed, _shifted(_blotches(), rng))
    return Image.composite(blotched, paper, _torn_edges(rng.randrange(4)))


def _noise(size: int, seed: int) -> Image.Image:
    values = random.Random(seed).randbytes(size * size)
    return Image.frombytes("L", (size, size), values)


@functools.cache
def _blotches() -> Image.Image:
    smooth = _noise(14, 1).resize(_SIZE, Image.Resampling.BICUBIC)
    return smooth.point([190 + value // 4 for value in range(256)]).convert("RGB")


@functools.cache
def _torn_edges(seed: int) -> Image.Image:
    mask = Image.new("L", _SIZE)
    draw = random.Random(seed)
    pen = Pen(mask, SCALE)
    pen.box(255, 8, 8, UNITS - 8, UNITS - 8)
    for step in range(4, UNITS - 2, 4):
        for x, y in ((step, 8), (step, UNITS - 8), (8, step), (UNITS - 8, step)):
            pen.oval(255, x, y, draw.uniform(2, 5.5))
    return mask.filter(ImageFilter.GaussianBlur(1.5))


def _hatch(grey: Image.Image, rng: random.Random) -> Image.Image:
    darkness = grey.point([max(0, 255 - 2 * value) for value in range(256)])
    pale = grey.point([120 + value * 135 // 255 for value in range(256)])
    blank = Image.new("L", _SIZE, 255)
    strokes = Image.composite(_shifted(_hatching(), rng), blank, darkness)
    return ImageChops.multiply(pale, strokes).convert("RGB")


def _finish_sketch(image: Image.Image, rng: random.Random) -> Image.Image:
    return image.convert("L").convert("RGB")


@functools.cache
def _hatching() -> Image.Image:
    texture = Image.new("L", _SIZE, 255)
    pen = ImageDraw.Draw(texture)
    for x in range(-CANVAS_SIZE, CANVAS_SIZE, 8):
        pen.line((x, CANVAS_SIZE, x + CANVAS_SIZE, 0), fill=150, width=2)
    return texture


def _finish_pixels(image: Image.Image, rng: random.Random) -> Image.Image:
    small = image.reduce(4)
    posterised = ImageOps.posterize(ImageEnhance.Color(small).enhance(1.4), 3)
    return posterised.resize(_SIZE, Image.Resampling.NEAREST)


def _finish_neon(image: Image.Image, rng: random.Random) -> Image.Image:
    small = image.reduce(4).filter(ImageFilter.BoxBlur(1))
    glow = small.resize(_SIZE, Image.Resampling.BILINEAR)
    return ImageChops.add(image, glow.point([value // 2 for value in range(256)] * 3))


@functools.cache
def _bricks() -> Image.Image:
    wall = Image.new("RGB", _SIZE, (124, 92, 114))
    pen = ImageDraw.Draw(wall)
    for row, y in enumerate(range(0, CANVAS_SIZE, 12)):
        pen.line((0, y, CANVAS_SIZE, y), fill=(22, 14, 24), width=2)
        for x in range(-12 + 12 * (row % 2), CANVAS_SIZE, 24):
            pen.line((x, y, x, y + 12), fill=(22, 14, 24), width=2)
    return wall


def _finish_polaroid(image: Image.Image, rng: random.Random) -> Image.Image:
    faded = ImageEnhance.Color(image).enhance(0.85)
    dimmed = ImageChops.multiply(faded, _vignette())
    return _framed(dimmed, _polaroid_paper(), (5, 4, UNITS - 5, UNITS - 13))


@functools.cache
def _vignette() -> Image.Image:
    radial = Image.radial_gradient("L").resize(_SIZE)
    return radial.point([255 - max(0, v - 90) * 2 // 3 for v in range(256)]).convert(
        "RGB"
    )


@functools.cache
def _polaroid_paper() -> Image.Image:
    paper = Image.new("RGB", _SIZE, (176, 168, 156))
    pen = Pen(paper, SCALE)
    pen.box((250, 248, 240), 1.5, 1.5, UNITS - 1.5, UNITS - 1.5)
    return paper


def _finish_comic(image: Image.Image, rng: random.Random) -> Image.Image:
    bright = ImageEnhance.Color(ImageOps.posterize(image, 3)).enhance(1.5)
    return _framed(bright, _comic_paper(), (5, 5, UNITS - 5, UNITS - 5))


@functools.cache
def _halftone() -> Image.Image:
    texture = Image.new("L", _SIZE, 255)
    pen = ImageDraw.Draw(texture)
    for row, y in enumerate(range(0, CANVAS_SIZE, 6)):
        for x in range(6 * (row % 2), CANVAS_SIZE, 12):
            pen.ellipse((x, y, x + 4, y + 4), fill=140)
    return texture.convert("RGB")


@functools.cache
def _comic_paper() -> Image.Image:
    paper = Image.new("RGB", _SIZE, WHITE)
    Pen(paper, SCALE).box((0, 0, 0), 2.5, 2.5, UNITS - 2.5, UNITS - 2.5)
    return paper


def _finish_glass(image: Image.Image, rng: random.Random) -> Image.Image:
    vivid = ImageEnhance.Color(image).enhance(1.6)
    return Image.composite(vivid, Image.new("RGB", _SIZE, (18, 18, 24)), _arch())


@functools.cache
def _lead() -> Image.Image:
    texture = Image.new("L", _SIZE, 255)
    pen = ImageDraw.Draw(texture)
    for start in range(-2 * CANVAS_SIZE, 2 * CANVAS_SIZE, 48):
        for way in (-1, 1):
            pen.line(
                (start, 0, start + way * CANVAS_SIZE, CANVAS_SIZE), fill=16, width=3
            )
    return texture.convert("RGB")


@functools.cache
def _arch() -> Image.Image:
    mask = Image.new("L", _SIZE)
    pen = Pen(mask, SCALE)
    pen.pie(255, UNITS / 2, 46, 44, 180, 360)
    pen.box(255, 4, 46, UNITS - 4, UNITS - 4)
    return mask


def _finish_blueprint(image: Image.Image, rng: random.Random) -> Image.Image:
    return ImageChops.add(image, _grid())


@functools.cache
def _grid() -> Image.Image:
    texture = Image.new("RGB", _SIZE)
    pen = ImageDraw.Draw(texture)
    for at in range(8, CANVAS_SIZE, 16):
        pen.line((at, 0, at, CANVAS_SIZE), fill=(60, 60, 60), width=1)
        pen.line((0, at, CANVAS_SIZE, at), fill=(60, 60, 60), width=1)
    return texture


# Only behind the things, which must stay clear at a seventh of the image's side.
_TEXTURES: dict[str, Callable] = {
    "oil painting": _weave,
    "neon sign": _bricks,
    "comic book panel": _halftone,
    "stained glass window": _lead,
}
_FINISHES: dict[str, Callable] = {
    "oil painting": _finish_oil,
    "watercolor": _finish_watercolor,
    "pencil sketch": _finish_sketch,
    "pixel art": _finish_pixels,
    "neon sign": _finish_neon,
    "polaroid photo": _finish_polaroid,
    "comic book panel": _finish_comic,
    "stained glass window": _finish_glass,
    "blueprint": _finish_blueprint,
}
