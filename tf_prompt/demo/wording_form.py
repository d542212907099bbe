"""The page's form for the wording of prompts; does not need Gradio."""

import dataclasses
from collections.abc import Sequence

from tf_prompt.inference.wording import WordingConfig

_DEFAULT = WordingConfig()


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of the form.

    Attributes:
        name: field of `WordingConfig`.
        label: label on the page.
        hint: what to enter.
        row: number of its row.
        is_list: whether each line is an item.
        is_number: whether it is an integer.
    """

    name: str
    label: str
    hint: str
    row: int
    is_list: bool = False
    is_number: bool = False

    @property
    def default(self):
        """Its initial value."""
        if self.is_number:
            return 0
        return "" if self.is_list else getattr(_DEFAULT, self.name)


FIELDS = (
    Field(
        "template",
        "Template",
        "text with fields in braces: {prompt}, {name}, {embedded} for what the file "
        "says; with CLIP {media}, {artists:3} and other tables",
        row=1,
    ),
    Field("exclude", "Leave out", "words, one entry per line", row=2, is_list=True),
    Field("replace", "Replace", "A=B, one per line", row=2, is_list=True),
    Field("append", "Append", "parts to add, one per line", row=2, is_list=True),
    Field("prefix", "In front", "text before each prompt", row=3),
    Field("suffix", "Behind", "text after each prompt", row=3),
    Field("separator", "Separator", "text between the parts", row=3),
)
MAX_TOKENS = Field(
    "max_clip_tokens",
    "CLIP tokens at most",
    "77 is what Stable Diffusion reads; 0 is no limit",
    row=3,
    is_number=True,
)


def read_form(fields: Sequence[Field], values: Sequence) -> WordingConfig:
    """Reads a form as a `WordingConfig`.

    Args:
        fields: fields of the form.
        values: their values: str, number or None.

    Raises:
        ValueError: if a value is invalid; the message is for the visitor.
    """
    options: dict = {}
    for field, value in zip(fields, values, strict=True):
        if field.is_number:
            # Gradio gives 0 for a number that nobody has filled in.
            options[field.name] = int(value) if value else None
        elif field.is_list:
            lines = str(value or "").split("\n")
            options[field.name] = tuple(line.strip() for line in lines if line.strip())
        else:
            options[field.name] = field.default if value is None else str(value)
    options["template"] = options["template"].strip() or _DEFAULT.template
    return WordingConfig(**options)
