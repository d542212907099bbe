"""Which writing system a prompt is in."""

import functools
import unicodedata

# Scripts without spaces between words, in which the text rule finds no words.
UNSPACED = {"cjk", "hiragana", "katakana", "thai", "lao", "khmer", "myanmar", "tibetan"}


def is_unspaced(prompt: str) -> bool:
    """Whether a prompt is in a script without spaces between words."""
    return not prompt.isascii() and find_script(prompt) in UNSPACED


def find_script(prompt: str) -> str:
    """Returns the Unicode script of most letters, such as `latin` or `cyrillic`.

    A script is not a language: English and Polish are both `latin`.
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
