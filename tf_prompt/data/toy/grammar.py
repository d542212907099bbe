"""The toy set's scenes and prompts.

Every slot of a scene is visible in its image. The choice of wording and of appended
fashionable words is not, so no model can score 100: one that sees everything and
always uses the usual wording reaches corpus BLEU-4 87 on the 8,000 prompts of seed 0.
"""

import dataclasses
import random

MEDIA = {
    "oil painting": "an oil painting",
    "watercolor": "a watercolor",
    "pencil sketch": "a pencil sketch",
    "pixel art": "pixel art",
    "neon sign": "a neon sign",
    "polaroid photo": "a polaroid photo",
    "comic book panel": "a comic book panel",
    "stained glass window": "a stained glass window",
    "blueprint": "a blueprint",
}
# An image in one ink shows no colours, so its prompt must not name any.
ONE_INK = ("pencil sketch", "blueprint")
SUBJECTS = {
    "cat": "cats",
    "fish": "fish",
    "butterfly": "butterflies",
    "house": "houses",
    "car": "cars",
    "rocket": "rockets",
    "mushroom": "mushrooms",
    "flower": "flowers",
}
# Not among the subjects, or one cat above one boat and one boat below one cat would
# be the same image.
OTHERS = ("star", "heart", "crown", "balloon", "gift")
COUNTS = {1: "a", 2: "two", 3: "three", 4: "four"}
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
# Training flips images, so relations must hold for the mirror image too.
RELATIONS = ("above", "below", "beside")
PLACES = {
    "beach": "on the beach",
    "forest": "in a forest",
    "city": "in a city",
    "desert": "in the desert",
    "mountains": "in the mountains",
    "moon": "on the moon",
    "sea": "under the sea",
    "library": "in a library",
}
WITHOUT_WEATHER = ("moon", "sea", "library")
WEATHERS = {
    "sunset": "at sunset",
    "night": "at night",
    "rain": "in the rain",
    "fog": "in the fog",
    "rainbow": "under a rainbow",
}
ARTISTS = ("van gogh", "mondrian", "hokusai", "klimt", "kusama", "monet")
UNSEEN = (
    "highly detailed",
    "trending on artstation",
    "8 k",
    "cinematic lighting",
    "sharp focus",
    "concept art",
    "masterpiece",
)

RELATION_RATE, WEATHER_RATE, ARTIST_RATE = 0.5, 0.6, 0.65
UNSEEN_RATE = 0.15


@dataclasses.dataclass(frozen=True)
class Scene:
    """The content of an image; its prompt names each field.

    Args:
        medium: a key of `MEDIA`.
        subject: a key of `SUBJECTS`.
        count: number of subjects, 1 to 4.
        colour: colour of the subjects, one of `COLOURS`; None for one ink.
        relation: position of the subjects relative to `other`; None without `other`.
        other: a second thing, one of `OTHERS`, or None.
        other_colour: its colour, or None.
        place: a key of `PLACES`.
        weather: a key of `WEATHERS`, or None for a plain day.
        artist: one of `ARTISTS`, or None.
    """

    medium: str
    subject: str
    count: int
    colour: str | None
    relation: str | None
    other: str | None
    other_colour: str | None
    place: str
    weather: str | None
    artist: str | None


def draw_scene(rng: random.Random) -> Scene:
    """Draws every slot at random, each of its values with equal probability."""
    medium = rng.choice(tuple(MEDIA))
    coloured = medium not in ONE_INK
    subject, other = rng.choice(tuple(SUBJECTS)), rng.choice(OTHERS)
    colour, other_colour = rng.choice(COLOURS), rng.choice(COLOURS)
    related = rng.random() < RELATION_RATE
    place = rng.choice(tuple(PLACES))
    weather = rng.choice(tuple(WEATHERS)) if rng.random() < WEATHER_RATE else None
    return Scene(
        medium=medium,
        subject=subject,
        count=rng.choice(tuple(COUNTS)),
        colour=colour if coloured else None,
        relation=rng.choice(RELATIONS) if related else None,
        other=other if related else None,
        other_colour=other_colour if related and coloured else None,
        place=place,
        weather=None if place in WITHOUT_WEATHER else weather,
        artist=rng.choice(ARTISTS) if rng.random() < ARTIST_RATE else None,
    )


def word_usually(scene: Scene) -> str:
    """Describes a scene in the wording of most prompts of the set."""
    style = f", in the style of {scene.artist}" if scene.artist else ""
    return f"{MEDIA[scene.medium]} of {_things(scene)} {_setting(scene)}{style}"


def _word_as_tags(scene: Scene) -> str:
    tags = [_things(scene), scene.place, scene.weather, scene.medium]
    if scene.artist:
        tags.append(f"by {scene.artist}")
    return ", ".join(filter(None, tags))


def _word_medium_last(scene: Scene) -> str:
    style = f", {scene.artist} style" if scene.artist else ""
    return f"{_things(scene)} {_setting(scene)}, {MEDIA[scene.medium]}{style}"


def _word_artist_first(scene: Scene) -> str:
    artist = f"{scene.artist} " if scene.artist else ""
    return f"{artist}{scene.medium} of {_things(scene)} {_setting(scene)}"


WORDINGS = {
    word_usually: 0.75,
    _word_as_tags: 0.13,
    _word_medium_last: 0.06,
    _word_artist_first: 0.06,
}


def write_prompt(scene: Scene, rng: random.Random) -> str:
    """Describes a scene in a random wording, sometimes with words no image shows."""
    wording = rng.choices(tuple(WORDINGS), weights=tuple(WORDINGS.values()))[0]
    parts = [wording(scene)]
    if rng.random() < UNSEEN_RATE:
        parts += rng.sample(UNSEEN, rng.choice((1, 2, 2)))
    return ", ".join(parts)


def draw_prompts(num_prompts: int, seed: int) -> list[tuple[Scene, str]]:
    """Draws scenes with their prompts; no scene and no prompt occurs twice.

    Args:
        num_prompts: int > 0, number of prompts.
        seed: int, random seed; a longer list starts with the shorter one.

    Returns:
        list of pairs of scene and prompt.
    """
    rng = random.Random(seed)
    scenes: set[Scene] = set()
    pairs = []
    while len(pairs) < num_prompts:
        scene = draw_scene(rng)
        if scene not in scenes:
            scenes.add(scene)
            pairs.append((scene, write_prompt(scene, rng)))
    return pairs


def _things(scene: Scene) -> str:
    noun = scene.subject if scene.count == 1 else SUBJECTS[scene.subject]
    subjects = _noun_phrase(scene.count, scene.colour, noun)
    if scene.relation is None:
        return subjects
    other = _noun_phrase(1, scene.other_colour, scene.other)
    return f"{subjects} {scene.relation} {other}"


def _noun_phrase(count: int, colour: str | None, noun: str) -> str:
    phrase = f"{colour} {noun}" if colour else noun
    article = "an" if count == 1 and phrase[0] in "aeiou" else COUNTS[count]
    return f"{article} {phrase}"


def _setting(scene: Scene) -> str:
    place = PLACES[scene.place]
    return f"{place} {WEATHERS[scene.weather]}" if scene.weather else place
