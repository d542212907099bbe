"""Heuristics that find the medium and the artists in a prompt."""

import re

# An image counts for every medium of which its prompt contains a word, as in
# `split_words`.
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
# Never an artist's first name, and not listed among frequent words.
FUNCTION_WORDS = frozenset(
    "a an and are as at be but by for from her his i in into is it its my no of off on "
    "one or out over she he that the their them there they this to two under up very "
    "was we who with without you your 's n't".split()
)
_LISTED = re.compile(r"\b(by|style of)\s+([^,;:|()\[\]{}<>!?\"\n\d/*+=_~#@]+)")
# A dot ends a sentence, but not in "h. p. lovecraft".
_LIST_END = re.compile(
    r"(?<=\w\w\w)\.(?:\s|$)|\s+(?:in|on|with|at|from|for|of|by|as|trending|featured|style|is|"
    r"artstation|wearing|standing)\b"
)
_BETWEEN = re.compile(r"\s+(?:and|&)\s+")
_MAX_NAME = 4


def index_keywords(table: dict[str, str]) -> dict[str, str]:
    """Converts a dict from category to words into one from word to category."""
    return {word: name for name, words in table.items() for word in words.split()}


def find_artists(prompt: str) -> set[str]:
    """Finds the names after "by" or "style of", also several joined by "and".

    What follows may not be an artist ("by night"), and names after a comma are
    missed. In counts over many prompts, frequent names are reliable, rare ones are
    not.

    Returns:
        set of names of at most four words, lower-case.
    """
    return {name for _, name in find_mentions(prompt)}


def find_mentions(prompt: str) -> set[tuple[str, str]]:
    """Finds artists and how they are introduced, see `find_artists`.

    Returns:
        set of pairs of `by` or `style of` and the name.
    """
    mentions = set()
    for introduction, listed in _LISTED.findall(prompt.lower()):
        for name in _BETWEEN.split(_LIST_END.split(listed, maxsplit=1)[0]):
            parts = name.strip(" .'-").split()
            if 1 <= len(parts) <= _MAX_NAME and parts[0] not in FUNCTION_WORDS:
                mentions.add((introduction, " ".join(parts)))
    return mentions
