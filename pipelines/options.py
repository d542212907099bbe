"""The flags that decide which images become records, and how; light to import."""

import dataclasses
import typing

from tf_prompt.data.split import TEST_RATE, VALIDATION_RATE
from tf_prompt.files import FORCE_HELP
from tf_prompt.options import option, require_positive, require_rate

# What `Filters` may drop an image for, in the order in which they are asked.
FILTERS = ("not_square", "blurred", "low_cfg", "few_steps")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Filters:
    """Which DiffusionDB images are kept."""

    square: bool = option(True, "filters: keep only square images")
    drop_blurred: bool = option(True, "filters: drop images with image_nsfw = 2")
    min_cfg: float = option(0.0, "filters: smallest guidance scale to keep")
    min_step: int = option(10, "filters: fewest denoising steps to keep")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conversion(Filters):
    """All that a record depends on besides the source."""

    image_size: int = option(224, "records: side of the stored image, pixels")
    max_pixels: int = option(
        2**26, "records: refuse larger images without decoding them, pixels"
    )
    validation: float = option(
        VALIDATION_RATE, "split: share of prompts for validation, 0-1"
    )
    test: float = option(TEST_RATE, "split: share of prompts for testing, 0-1")

    def __post_init__(self):
        require_positive(self, "image_size", "max_pixels")
        require_rate(self, "validation", "test")
        if self.validation + self.test >= 1:
            raise ValueError(
                "validation and test must leave a share for train. "
                f"Received: {self.validation} and {self.test}"
            )

    def as_json(self) -> dict:
        """The fields; shares of splits only where they are not those by default.

        Earlier versions had no such flags, and what they wrote must stay known.
        """
        fields = dataclasses.asdict(self)
        for name in ("validation", "test"):
            if fields[name] == getattr(Conversion, name):
                del fields[name]
        return fields


@dataclasses.dataclass(frozen=True, kw_only=True)
class WriteOptions(Conversion):
    """What every way of writing shards asks for."""

    first_groups: typing.ClassVar = ("input", "output", "filters", "records", "split")

    source: str = option(
        dataclasses.MISSING,
        "input: folder in DiffusionDB's or Kaggle's layout, or a CSV",
    )
    output: str = option(dataclasses.MISSING, "output: folder for the shards")
    max_reject_rate: float = option(
        0.05, "records: share of bad rows above which the exit code is 1"
    )
    group_near_duplicates: bool = option(
        False, "split: keep prompts that share most of their words together"
    )
    near_duplicate_jaccard: float = option(
        0.7, "split: near-duplicates have at least this Jaccard similarity of words"
    )
    force: bool = option(False, FORCE_HELP, group="output")

    def __post_init__(self):
        super().__post_init__()
        require_positive(self, "near_duplicate_jaccard")
        require_rate(self, "max_reject_rate")
        if self.near_duplicate_jaccard > 1:
            raise ValueError(
                f"near_duplicate_jaccard must be at most 1. "
                f"Received: {self.near_duplicate_jaccard}"
            )

    @property
    def jaccard(self) -> float | None:
        """Similarity from which prompts are grouped; None groups nothing."""
        return self.near_duplicate_jaccard if self.group_near_duplicates else None
