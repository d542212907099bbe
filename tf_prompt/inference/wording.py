"""Formats prompts for output: templates, excluded words, length limits."""

import bisect
import dataclasses
import pathlib
import re
import string
from collections.abc import Callable, Collection, Sequence

from tf_prompt.inference import image_bytes
from tf_prompt.interrogation import presets
from tf_prompt.options import import_tensorflow, option

_TEMPLATE, _SEPARATOR = "{prompt}", ", "
# Not the comma of 1,000.
_COMMA = re.compile(r"\s*,(?:\s+|$)")
_FIELD = re.compile(r"[a-z][a-z0-9_]*")


@dataclasses.dataclass(frozen=True, kw_only=True)
class WordingConfig:
    """How to format prompts for output; the fields apply in this order."""

    template: str = option(
        _TEMPLATE,
        "text with fields in braces, listed on the page Batch folders: "
        "{artists:3} is replaced by the three best phrases of that table, {artists} by "
        "the best",
        metavar="TEXT",
        group="wording",
    )
    exclude: tuple[str, ...] = option(
        (),
        "remove the parts between commas that contain these words, but from the first "
        "part only the words themselves; may be repeated",
        metavar="WORDS",
        action="append",
        group="wording",
    )
    replace: tuple[str, ...] = option(
        (),
        "replace A with B; may be repeated",
        action="append",
        metavar="A=B",
        group="wording",
    )
    append: tuple[str, ...] = option(
        (),
        "append this part, unless the prompt has it already; may be repeated",
        metavar="TEXT",
        action="append",
        group="wording",
    )
    max_clip_tokens: int | None = option(
        None,
        "cut prompts at a comma to at most N CLIP tokens, start and end included",
        group="wording",
    )
    clip_tokenizer: str | None = option(
        None,
        "preset or folder of the tokenizer that counts them (default: that of the "
        f"interrogating CLIP, else {presets.DEFAULT})",
        metavar="PRESET",
        group="wording",
    )
    separator: str = option(
        _SEPARATOR,
        "text between the parts (default: %(default)r)",
        metavar="TEXT",
        group="wording",
    )
    prefix: str = option("", "text before each prompt", metavar="TEXT", group="wording")
    suffix: str = option("", "text after each prompt", metavar="TEXT", group="wording")

    def __post_init__(self):
        parse_template(self.template)
        for pair in self.replace:
            if not pair.partition("=")[0] or "=" not in pair:
                raise ValueError(f"replace must be A=B. Received: {pair}")
        if not all(text.strip() for text in self.exclude):
            raise ValueError("exclude must name words. Received: an empty text")
        if self.max_clip_tokens is not None and self.max_clip_tokens < 3:
            raise ValueError(
                "max_clip_tokens must be at least 3, as start and end count. "
                f"Received: {self.max_clip_tokens}"
            )

    @property
    def wording_identity(self) -> dict:
        """The options that differ from the defaults, as a JSON-compatible dict."""
        fields = dataclasses.fields(WordingConfig)
        values = {field.name: getattr(self, field.name) for field in fields}
        defaults = {field.name: field.default for field in fields}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if value != defaults[name]
        }


def parse_template(template: str) -> list[tuple[str, str | None, int]]:
    """Parses a template.

    Returns:
        list of triples: a text, the name of the field after it (None at the end), and
        the number of phrases.

    Raises:
        ValueError: if braces do not hold valid fields.
    """
    pieces = []
    try:
        for text, name, count, conversion in string.Formatter().parse(template):
            if name is not None:
                if not _FIELD.fullmatch(name) or conversion:
                    raise ValueError(f"{name} is not a name")
                if not re.fullmatch(r"([1-9]\d{0,2})?", count or ""):
                    raise ValueError(f"{count} is not a number of phrases")
            pieces.append((text, name, int(count or 1)))
    except ValueError as error:
        raise ValueError(
            "template must be text with fields in braces, as {prompt}, and {{ for a "
            f"brace. Received: {template} ({error})"
        ) from error
    return pieces


class Wording:
    """Formats the prompts of results.

    Args:
        config: `WordingConfig`.
        fields: names of the fields that every result has, such as `score`.
        tables: names of the tables whose phrases results have.
        count: function from texts to their numbers of CLIP tokens; only needed for
            `max_clip_tokens`.

    Raises:
        ValueError: if the template names another field, or there is no room for a
            prompt.
    """

    def __init__(
        self,
        config: WordingConfig,
        fields: Collection[str] = (),
        tables: Collection[str] = (),
        count: Callable[[Sequence[str]], Sequence[int]] | None = None,
    ):
        self._config, self._count = config, count
        self._pieces = parse_template(config.template)
        self._tables = set(tables)
        known = ["prompt", *fields, "name", *_embedded_fields(), *sorted(tables)]
        for _, name, _ in self._pieces:
            if name is not None and name not in known:
                raise ValueError(
                    f"template must have no fields but {', '.join(known)}. "
                    f"Received: {{{name}}}"
                )
        words = [_pattern_of(text) for text in config.exclude]
        self._excluded = re.compile("|".join(words), re.IGNORECASE) if words else None
        self._pairs = [pair.split("=", 1) for pair in config.replace]
        self._is_plain = not config.wording_identity
        if config.max_clip_tokens is not None and not self._fits([]):
            raise ValueError(
                "max_clip_tokens must leave room for a prompt beside prefix, suffix "
                f"and append. Received: {config.max_clip_tokens}"
            )

    def __call__(self, result: dict) -> str:
        """Formats the prompt of a result.

        Args:
            result: dict of `path` and `prompt`, and optionally `embedded` and
                `phrases`, a dict from table to pairs of phrase and score.
        """
        if self._is_plain:
            return result["prompt"]
        parts = self._without_excluded(_split(self._fill(result)))
        if self._pairs:
            # Joined again, because a replacement may contain a comma.
            text = _SEPARATOR.join(parts)
            for old, new in self._pairs:
                text = text.replace(old, new)
            parts = _split(text)
        if self._config.template != _TEMPLATE:
            # Phrases of a table may be in the prompt already.
            parts = _without_repeats(parts)
        return self._join(self._cut(parts))

    def _fill(self, result):
        texts = []
        for text, name, count in self._pieces:
            texts.append(text)
            if name is not None:
                texts.append(self._value(result, name, count))
        return "".join(texts)

    def _value(self, result, name, count):
        if name == "prompt":
            return result["prompt"]
        if name == "name":
            return pathlib.Path(result["path"]).stem
        if name in _embedded_fields():
            key = name.removeprefix("embedded").removeprefix("_") or "prompt"
            value = result.get("embedded", {}).get(key)
        elif name in self._tables:
            phrases = [phrase for phrase, _ in result["phrases"].get(name, ())]
            kept = [phrase for phrase in phrases if not self._is_excluded(phrase)]
            return _SEPARATOR.join(kept[:count])
        else:
            value = result.get(name)
        if isinstance(value, float):
            return f"{value:.3f}"
        return "" if value is None else str(value)

    def _is_excluded(self, text):
        return self._excluded is not None and self._excluded.search(text)

    def _without_excluded(self, parts):
        if self._excluded is None or not parts:
            return parts
        first = " ".join(self._excluded.sub("", parts[0]).split())
        rest = [part for part in parts[1:] if not self._is_excluded(part)]
        return [first, *rest] if first else rest

    def _join(self, parts):
        has = {part.lower() for part in parts}
        added = [part for part in self._config.append if part.lower() not in has]
        text = self._config.separator.join([*parts, *added])
        return f"{self._config.prefix}{text}{self._config.suffix}"

    def _fits(self, parts):
        (count,) = self._count([self._join(parts)])
        return count <= self._config.max_clip_tokens

    def _cut(self, parts):
        """Returns as many parts as fit, or else words or letters of the first."""
        if self._config.max_clip_tokens is None:
            return parts
        # Each part has at least one token.
        parts = parts[: self._config.max_clip_tokens]
        if kept := _longest(parts, self._fits):
            return kept
        words = parts[0].split()[: self._config.max_clip_tokens] if parts else []
        if kept := _longest(words, lambda words: self._fits([" ".join(words)])):
            return [" ".join(kept)]
        letters = _longest(words[0], lambda text: self._fits([text])) if words else ""
        return [letters] if letters else []


def _split(text):
    parts = (part.strip() for part in _COMMA.split(text))
    return [part for part in parts if part]


def _without_repeats(parts):
    first: dict[str, str] = {}
    for part in parts:
        first.setdefault(part.lower(), part)
    return list(first.values())


def _longest(items, fits):
    """Returns the longest beginning that fits, by bisection."""
    size = bisect.bisect_left(
        range(1, len(items) + 1), True, key=lambda n: not fits(items[:n])
    )
    return items[:size]


def _embedded_fields():
    return ["embedded", *image_bytes.embedded_names()[1:]]


def _pattern_of(text):
    words = r"\s+".join(re.escape(word) for word in text.split())
    return rf"(?<!\w){words}(?!\w)"


def load_counter(config: WordingConfig, tokens=None) -> Callable | None:
    """Returns a function that counts CLIP tokens, if the wording needs it.

    Args:
        config: `WordingConfig`.
        tokens: tokenizer of the interrogating model; used if it is a CLIP's.

    Returns:
        Function from texts to their numbers of tokens, start and end included; None if
        it is not needed.

    Raises:
        ValueError: if there is no CLIP tokenizer.
    """
    if config.max_clip_tokens is None:
        return None
    if config.clip_tokenizer is None and tokens is not None and tokens.are_of_clip:
        return tokens.count
    # TensorFlow takes seconds to import, and logs messages about GPUs.
    import_tensorflow()
    from tf_prompt.interrogation import clip_tokens

    # All CLIPs have the same tokenizer.
    place = presets.resolve(config.clip_tokenizer or presets.DEFAULT)
    try:
        tokenizer = clip_tokens.load_tokenizer(place)
    except ValueError as error:
        raise ValueError(
            "max_clip_tokens needs CLIP's tokenizer: name a folder that has it with "
            f"--clip-tokenizer. Received: {error}"
        ) from error
    return clip_tokens.CLIPTokens(tokenizer).count
