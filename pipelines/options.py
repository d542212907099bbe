"""The flags that decide which images become records, and how; light to import."""

import dataclasses
import typing

from tf_prompt.data.split import TEST_RATE, VALIDATION_RATE
from tf_prompt.files import FORCE_HELP
from tf_prompt.options import (
    option,
    require_not_negative,
    require_positive,
    require_rate,
)

# The filters of `Filters` that use metadata, in the order in which they are applied.
FILTERS = ("not_square", "blurred", "low_cfg", "few_steps")
# Other filters; stats list these only if they dropped something.
PROMPT_FILTERS = ("few_words", "other_script")
CAPS = ("over_prompt", "over_family")
LAYOUTS = (
    "diffusiondb",
    "kaggle",
    "csv",
    "jsonl",
    "imagefolder",
    "img2dataset",
    "webdataset",
    "parquet",
    "sidecar",
    "embedded",
)
ASPECTS = ("crop", "pad", "skip")
# Flags that earlier versions did not have. They are recorded only if they change
# something, so that the output of those versions is still recognised.
_LATER = (
    *("validation", "test", "fold"),
    *("aspect", "clean_prompts", "scripts", "min_words"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Filters:
    """Which images to keep, and how to clean their prompts."""

    square: bool = option(True, "filters: keep only the square images of DiffusionDB")
    aspect: str | None = option(
        None,
        "filters: what to do with images that are not square: crop to the largest "
        "centred square, pad with black, or skip (default: --square decides for "
        "DiffusionDB; other images are cropped)",
        choices=ASPECTS,
    )
    drop_blurred: bool = option(
        True, "filters: drop images that DiffusionDB blurred (image_nsfw = 2)"
    )
    min_cfg: float = option(0.0, "filters: minimum guidance scale, where it is known")
    min_step: int = option(
        10, "filters: minimum number of denoising steps, where it is known"
    )
    clean_prompts: bool | None = option(
        None,
        "filters: remove weights, networks and options such as (word:1.2) or --ar 16:9 "
        "from prompts, and keep the words (default: on, except for DiffusionDB, "
        "Kaggle and CSV)",
    )
    min_words: int = option(1, "filters: minimum number of words per prompt")
    scripts: str | None = option(
        None,
        "filters: keep only prompts in these scripts, such as latin or latin,cyrillic",
    )

    def __post_init__(self):
        require_positive(self, "min_words")

    @property
    def wants_squares(self) -> bool:
        """Whether images that are known not to be square are dropped."""
        return self.square if self.aspect is None else self.aspect == "skip"

    @property
    def kept_scripts(self) -> frozenset[str]:
        """The names in `scripts`; empty if all scripts are kept."""
        names = (self.scripts or "").lower().split(",")
        return frozenset(name.strip() for name in names) - {""}

    @property
    def names(self) -> tuple[str, ...]:
        """The filters: those by metadata, and those by prompts that are on."""
        are_on = (self.min_words > 1, bool(self.kept_scripts))
        on = (n for n, is_on in zip(PROMPT_FILTERS, are_on, strict=True) if is_on)
        return (*FILTERS, *on)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conversion(Filters):
    """All options on which a record depends, besides the source."""

    image_size: int = option(224, "records: side of the stored images in pixels")
    max_pixels: int = option(
        2**26, "records: reject images with more pixels, without decoding them"
    )
    validation: float = option(
        VALIDATION_RATE, "split: fraction of prompts for validation"
    )
    test: float = option(TEST_RATE, "split: fraction of prompts for testing")
    fold: str | None = option(
        None,
        "split: for cross-validation: one of COUNT folds, numbered from 0. Each prompt "
        "is for testing in one of them, and --test is 1 / COUNT",
        metavar="INDEX/COUNT",
    )

    def __post_init__(self):
        super().__post_init__()
        require_positive(self, "image_size", "max_pixels")
        require_rate(self, "validation", "test")
        if self.fold is not None:
            self._check_fold()
        test = self.shares["test"]
        if self.validation + test >= 1:
            raise ValueError(
                "validation and test must leave a share for train. "
                f"Received: {self.validation} and {test:g}"
            )

    def _check_fold(self) -> None:
        index, slash, count = self.fold.partition("/")
        if not (slash and index.isdecimal() and count.isdecimal()) or (
            int(index) >= int(count) or int(count) < 2
        ):
            raise ValueError(
                f"fold must be INDEX/COUNT, such as 0/5 to 4/5. Received: {self.fold}"
            )
        if self.test != TEST_RATE:
            raise ValueError(
                f"test must be left out with fold, which makes it 1/{count}. "
                f"Received: {self.test}"
            )

    @property
    def shares(self) -> dict[str, float]:
        """The arguments of `split.split_of`."""
        test, shift = self.test, 0.0
        if self.fold is not None:
            index, count = map(int, self.fold.split("/"))
            test, shift = 1 / count, index / count
        return {"validation": self.validation, "test": test, "shift": shift}

    def as_json(self) -> dict:
        """The fields as a dict; later additions only if they change something."""
        fields = dataclasses.asdict(self)
        for name in _LATER:
            if fields[name] is False or fields[name] == getattr(Conversion, name):
                del fields[name]
        return fields


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """Where images and prompts come from."""

    source: str = option(
        dataclasses.MISSING,
        "input: folder or file with images and prompts; its layout is recognised",
    )
    layout: str | None = option(
        None, "input: layout of the source (default: recognised)", choices=LAYOUTS
    )
    image_column: str | None = option(
        None, "input: name of the column of images or image files (default: recognised)"
    )
    prompt_column: str | None = option(
        None, "input: name of the column of prompts (default: recognised)"
    )
    split_column: str | None = option(
        None,
        "input: column with splits to keep; split also reads them from names of files "
        "and folders, such as train/",
    )
    source_column: str | None = option(
        None,
        "input: column to store in each record, such as the model or site of origin; "
        "evaluate then also scores each of its values",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """Options that need all rows before the first one is converted."""

    group_near_duplicates: bool = option(
        False, "split: keep prompts that share most of their words in one split"
    )
    near_duplicate_jaccard: float = option(
        0.7,
        "split: group prompts at this similarity or above: words in both prompts, "
        "divided by words in either",
    )
    group_near_duplicate_images: bool = option(
        False, "split: keep images that look the same in one split"
    )
    near_duplicate_bits: int = option(
        4,
        "split: maximum number of bits, of 64, in which their perceptual hashes differ",
    )
    group_families: float | None = option(
        None,
        "split: keep prompts with at least this overlap of words, 0-1, in one family, "
        "directly or through others; 0.4 suits long prompts. A family stays in one "
        "split, and records carry its name",
    )
    max_per_prompt: int | None = option(
        None, "split: maximum number of images per prompt"
    )
    max_per_family: int | None = option(
        None, "split: maximum number of images per family"
    )

    def __post_init__(self):
        require_positive(
            self,
            "near_duplicate_jaccard",
            "group_families",
            "max_per_prompt",
            "max_per_family",
        )
        require_not_negative(self, "near_duplicate_bits")
        for name in ("near_duplicate_jaccard", "group_families"):
            value = getattr(self, name)
            if value is not None and value > 1:
                raise ValueError(f"{name} must be at most 1. Received: {value}")
        if self.near_duplicate_bits > 16:
            raise ValueError(
                "near_duplicate_bits must be at most 16, or all images would be alike. "
                f"Received: {self.near_duplicate_bits}"
            )
        if self.max_per_family and self.group_families is None:
            raise ValueError(
                "max_per_family needs families: give group_families too. Received: "
                f"{self.max_per_family}"
            )

    @property
    def jaccard(self) -> float | None:
        """Minimum similarity of grouped prompts; None does not group them."""
        return self.near_duplicate_jaccard if self.group_near_duplicates else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class WriteOptions(PlanOptions, Conversion, SourceOptions):
    """The options of all commands that write shards."""

    first_groups: typing.ClassVar = ("input", "output", "filters", "records", "split")

    output: str = option(dataclasses.MISSING, "output: folder for the shards")
    max_reject_rate: float = option(
        0.05, "records: maximum share of rejected rows; above it the exit code is 1"
    )
    force: bool = option(False, FORCE_HELP, group="output")

    def __post_init__(self):
        PlanOptions.__post_init__(self)
        Conversion.__post_init__(self)
        if self.fold and self.split_column:
            raise ValueError(
                "split_column must be left out with fold. "
                f"Received: {self.split_column} and {self.fold}"
            )
        require_rate(self, "max_reject_rate")


def complete(options: Filters, is_curated: bool):
    """Fills in the options whose default depends on the source.

    Args:
        options: `Filters`, or a subclass.
        is_curated: attribute of the source, see `parts.Source`.
    """
    clean, aspect = options.clean_prompts, options.aspect
    if clean is None:
        clean = not is_curated
    if aspect is None and not is_curated:
        aspect = "crop"
    return dataclasses.replace(options, clean_prompts=clean, aspect=aspect)
