"""What prompts are about, told by words; a rough guide, not a classifier."""

import functools
import re
import unicodedata
from collections.abc import Iterable

# An image counts for every subject of which its prompt has a word, as `split_words`
# gives it.
SUBJECTS = {
    "people": "portrait portraits person people man men woman women girl girls boy "
    "boys child children baby face faces human humans king queen prince princess "
    "warrior soldier knight wizard witch lady goddess selfie actor singer president",
    "animals": "animal animals cat cats kitten dog dogs puppy bird birds horse horses "
    "fish fox wolf bear lion tiger elephant rabbit owl butterfly dinosaur snake frog "
    "monkey whale shark crocodile mouse cow pig sheep goat insect spider bee",
    "landscapes": "landscape landscapes mountain mountains forest forests sea ocean "
    "beach river lake sky clouds desert valley island waterfall sunset sunrise field "
    "meadow jungle garden tree trees flower flowers nature hills snow",
    "architecture": "architecture building buildings house houses castle city "
    "cityscape town village street bridge tower temple church cathedral palace ruins "
    "interior room skyscraper skyscrapers mansion cottage",
    "vehicles": "vehicle vehicles car cars truck train ship boat spaceship spacecraft "
    "airplane plane aircraft helicopter motorcycle bicycle bus tank submarine yacht",
    "food": "food fruit fruits apple bread cake pizza burger coffee tea wine soup "
    "sushi ramen taco cheese chocolate cream salad meat vegetable vegetables meal",
    "fantasy and space": "fantasy dragon dragons demon demons angel magic magical "
    "elf elves fairy unicorn monster alien aliens robot robots cyborg cyberpunk mecha "
    "space planet planets galaxy nebula astronaut futuristic",
    "abstract": "abstract fractal fractals geometric pattern patterns psychedelic "
    "surreal surrealism surrealist minimalist",
}
MEDIA = {
    "photograph": "photo photos photograph photography photorealistic dslr mm "
    "polaroid kodak bokeh",
    "painting": "painting paintings painted oil acrylic watercolor watercolour "
    "gouache canvas impasto",
    "drawing": "drawing sketch pencil ink charcoal illustration lineart comic manga "
    "cartoon anime doodle",
    "render": "render rendered octane unreal blender cgi raytracing vray",
    "sculpture": "sculpture statue marble clay bronze figurine",
}
# Not shown among the frequent words, and never an artist's first name.
FUNCTION_WORDS = frozenset(
    "a an and are as at be but by for from her his i in into is it its my no of off on "
    "one or out over she he that the their them there they this to two under up very "
    "was we who with without you your 's n't".split()
)
_LISTED = re.compile(r"\b(?:by|style of)\s+([^,;:|()\[\]{}<>!?\"\n\d/*+=_~#@]+)")
# A dot ends a sentence, but not "h. p. lovecraft".
_LIST_END = re.compile(
    r"(?<=\w\w\w)\.(?:\s|$)|\s+(?:in|on|with|at|from|for|of|by|as|trending|featured|style|is|"
    r"artstation|wearing|standing)\b"
)
_BETWEEN = re.compile(r"\s+(?:and|&)\s+")
_MAX_NAME = 4


def index_keywords(table: dict[str, str]) -> dict[str, str]:
    """Turns a table of category and words into word and category."""
    return {word: name for name, words in table.items() for word in words.split()}


def find_categories(words: Iterable[str], category_of: dict[str, str]) -> set[str]:
    """Names the categories of which there is a word; `none of these` if no one."""
    found = {category_of[word] for word in words if word in category_of}
    return found or {"none of these"}


def find_artists(prompt: str) -> set[str]:
    """Finds what follows "by" or "style of": one name, or several joined by "and".

    What follows may be no artist at all ("by night"), and names after a comma
    are not found. Rather for the head of the list than for its tail.

    Returns:
        Names of at most four words, lower-case.
    """
    names = set()
    for listed in _LISTED.findall(prompt.lower()):
        for name in _BETWEEN.split(_LIST_END.split(listed, maxsplit=1)[0]):
            parts = name.strip(" .'-").split()
            if 1 <= len(parts) <= _MAX_NAME and parts[0] not in FUNCTION_WORDS:
                names.add(" ".join(parts))
    return names


def find_script(prompt: str) -> str:
    """Names the Unicode script of most letters, such as `latin` or `cyrillic`.

    A script is no language: English and Polish are both `latin`.
    """
    counts: dict[str, int] = {}
    letters = filter(str.isalpha, prompt)
    if prompt.isascii():
        return "latin" if next(letters, None) else "no letters"
    for letter in letters:
        script = _script_of(letter)
        counts[script] = counts.get(script, 0) + 1
    return max(counts, key=counts.__getitem__, default="no letters")


@functools.lru_cache(maxsize=10_000)
def _script_of(letter: str) -> str:
    # Decomposed first: a full-width or mathematical letter is a Latin one.
    plain = unicodedata.normalize("NFKC", letter)[0]
    return unicodedata.name(plain, "unnamed").split()[0].lower()
