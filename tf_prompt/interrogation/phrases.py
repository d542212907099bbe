"""Builds from prompts the tables of phrases that an interrogator chooses from."""

import collections
import pathlib
import re
from collections.abc import Iterable, Mapping

from tf_prompt import files
from tf_prompt.data.keywords import FUNCTION_WORDS, MEDIA, find_mentions, index_keywords

TABLES = ("media", "artists", "movements", "subjects", "settings", "flavours")
# A phrase in fewer prompts is probably one user's.
MIN_COUNT = 10
MAX_PHRASES = 20_000

_MAX_MEDIUM, _MAX_SUBJECT, _MAX_SETTING, _MAX_FLAVOUR = 4, 6, 6, 5
_MEDIUM_WORDS = frozenset(index_keywords(MEDIA))
_BREAK = re.compile(r"[,;|\n()\[\]{}!?\"]|\.(?:\s|$)|:[\d.]*")
_STYLE = re.compile(r"\s*\b(?:(?:in|with)\s+(?:the\s+|a\s+)?)?(?:style of|by)\s.*")
_MEDIUM = re.compile(r"(?P<medium>[\w' -]+?)\s+of\s+(?P<rest>.+)")
_ARTICLE = re.compile(r"^(?:an?|the)\s+")
_PREPOSITION = re.compile(
    r"\s+(?=(?:above|below|beside|behind|under|underneath|inside|near|over|against|"
    r"between|among|through|in|on|at|with|wearing|holding|riding|surrounded)\s)"
)
# "a group of cats" says how many, not how it was made.
_AMOUNTS = frozenset(
    "group pair bunch lot lots piece pieces pile cup bowl glass bottle slice couple "
    "lots king queen field kind type number army front top side full out".split()
)
# Not `wave`: more tsunamis than vaporwave end in it.
_MOVEMENT = re.compile(
    r"\b(?:(?:abstract|neo|post|hyper|photo|magic|magical|social|pop)[ -])?"
    r"(?:\w{3,}ism|(?:\w{3,})(?:punk|core)|vaporwave|synthwave|art nouveau|art deco|"
    r"pop art|op art|bauhaus|baroque|rococo|renaissance|gothic|ukiyo-e|dada|fauvist|"
    r"pre-raphaelite|arts and crafts|de stijl|hudson river school)\b"
)


def find_phrases(prompt: str) -> dict[str, set[str]]:
    """Splits a prompt into phrases and sorts them by table.

    The prompt is split into parts at commas and other marks. Text before "of", or a
    part with a word of `keywords.MEDIA`, is a medium; names after "by" or "style of"
    are artists; the rest of the first part is split at prepositions into a subject and
    settings; later parts are flavours. These rules are rough: `build_tables` drops
    rare phrases.

    Args:
        prompt: the original prompt.

    Returns:
        dict from table to a set of lower-case phrases; all of `TABLES` are there.
    """
    found: dict[str, set[str]] = {table: set() for table in TABLES}
    for introduction, name in find_mentions(prompt):
        how = "by" if introduction == "by" else "in the style of"
        found["artists"].add(f"{how} {name}")
    lowered = " ".join(prompt.lower().split())
    found["movements"].update(_MOVEMENT.findall(lowered))
    parts = [part.strip(" .-'") for part in _BREAK.split(lowered)]
    for index, part in enumerate(filter(None, parts)):
        _sort_part(_STYLE.sub("", part), index == 0, found)
    return found


def _sort_part(part, is_first, found):
    match = _MEDIUM.fullmatch(part)
    if match and _is_medium(match["medium"]):
        found["media"].add(match["medium"])
        _sort_scene(match["rest"], found)
    elif len(part.split()) <= _MAX_MEDIUM and _MEDIUM_WORDS & set(part.split()):
        found["media"].add(part)
    elif is_first:
        _sort_scene(part, found)
    elif part and len(part.split()) <= _MAX_FLAVOUR:
        found["flavours"].add(part)


def _is_medium(phrase):
    words = _ARTICLE.sub("", phrase).split()
    plain = not FUNCTION_WORDS & set(words) and words[-1] not in _AMOUNTS
    return len(words) <= _MAX_MEDIUM and plain


def _sort_scene(scene, found):
    subject, *settings = _PREPOSITION.split(scene)
    if subject and len(subject.split()) <= _MAX_SUBJECT:
        found["subjects"].add(subject)
    short = (s for s in settings if len(s.split()) <= _MAX_SETTING)
    found["settings"].update(short)


def count_phrases(prompts: Iterable[str]) -> dict[str, collections.Counter]:
    """Returns, for each table, the number of prompts that contain each phrase."""
    counts: dict[str, collections.Counter] = {t: collections.Counter() for t in TABLES}
    for prompt in prompts:
        for table, phrases in find_phrases(prompt).items():
            counts[table].update(phrases)
    return counts


def build_tables(
    prompts: Iterable[str], min_count: int = MIN_COUNT, max_phrases: int = MAX_PHRASES
) -> dict[str, list[str]]:
    """Builds tables of the phrases that occur in many prompts.

    Each artist has the introduction, "by" or "in the style of", that is most common.
    A phrase, with or without an article, is in one table only: the first of `TABLES`
    that has it.

    Args:
        prompts: the original prompts, one per image.
        min_count: int > 0. Smallest number of prompts that contain a phrase.
        max_phrases: int > 0. Largest number of phrases per table; the most frequent
            are kept.

    Returns:
        dict from table to its phrases, most frequent first, then alphabetically; empty
        tables are left out.
    """
    counts = count_phrases(prompts)
    counts["artists"] = _choose_introductions(counts["artists"])
    tables, taken = {}, set()
    for table in TABLES:
        ranked = sorted(counts[table].items(), key=lambda item: (-item[1], item[0]))
        kept = [
            phrase
            for phrase, count in ranked
            if count >= min_count and _ARTICLE.sub("", phrase) not in taken
        ][:max_phrases]
        taken.update(_ARTICLE.sub("", phrase) for phrase in kept)
        if kept:
            tables[table] = kept
    return tables


def _choose_introductions(counts):
    uses: dict[str, collections.Counter] = {}
    for phrase, count in counts.items():
        name = phrase.removeprefix("by ").removeprefix("in the style of ")
        uses.setdefault(name, collections.Counter())[phrase] += count
    chosen = collections.Counter()
    for introductions in uses.values():
        phrase = min(introductions, key=lambda p: (-introductions[p], p))
        chosen[phrase] = introductions.total()
    return chosen


def read_table(path: str | pathlib.Path) -> list[str]:
    """Reads a file with one phrase per line; skips empty and repeated lines.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it has no phrase, or is not UTF-8.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"phrases must be a file. Received: {path}")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"phrases must be a UTF-8 file. Received: {path}") from error
    phrases = list(dict.fromkeys(filter(None, map(str.strip, lines))))
    if not phrases:
        raise ValueError(f"phrases must have one phrase per line. Received: {path}")
    return phrases


def read_tables(paths: Iterable[str | pathlib.Path]) -> dict[str, list[str]]:
    """Reads files of phrases as tables named after the files, without their suffix.

    Returns:
        dict from table to its phrases.

    Raises:
        FileNotFoundError, ValueError: as `read_table`.
        ValueError: if two files have the same name.
    """
    tables: dict[str, list[str]] = {}
    for path in map(pathlib.Path, paths):
        if path.stem in tables:
            raise ValueError(
                f"phrases must be files of different names. Received: {path.stem} twice"
            )
        tables[path.stem] = read_table(path)
    return tables


def write_tables(
    tables: Mapping[str, Iterable[str]], folder: str | pathlib.Path
) -> None:
    """Writes each table to `TABLE.txt`, one phrase per line."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for table, phrases in tables.items():
        lines = "".join(f"{phrase}\n" for phrase in phrases)
        files.write_whole(folder / f"{table}.txt", lines.encode())
