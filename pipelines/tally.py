"""Counts what became of every row, in one part and in all, and formats the counts."""

import collections
import csv
import dataclasses
import hashlib
import os
from collections.abc import Iterable, Sequence

from pipelines.options import CAPS, FILTERS, PROMPT_FILTERS
from pipelines.scripts import is_unspaced
from pipelines.syntax import find_syntax
from tf_prompt.data.records import Record
from tf_prompt.data.split import SPLITS
from tf_prompt.files import replacing

REJECTIONS = (
    "unreadable_part",
    "no_metadata_row",
    "row_without_image",
    "unsafe_member",
    "too_many_pixels",
    "undecodable_image",
    "constant_image",
    "no_words",
)
MAX_EXAMPLES = 5
ANY_SYNTAX = "any"
# Number of largest families whose sizes are reported.
_LARGEST = 10
# Keys of `Tally.prompts`.
CLEANED, UNSPACED = "cleaned", "without_spaces"
# Counts that are missing in the stats of earlier versions.
_LATER = ("syntax", "prompts", "families", "own_splits")
_DROPS = {*FILTERS, *PROMPT_FILTERS, *CAPS}


@dataclasses.dataclass
class Tally:
    """Counts each row once: dropped, rejected or kept.

    Args:
        dropped: number of rows by the first filter that dropped them.
        rejected: number of rows by cause.
        rejected_examples: dict from cause to the first names.
        examples: number of records by split.
        syntax: number of records by the kind of prompt syntax in them, see `syntax`;
            those with any are also counted as `ANY_SYNTAX`.
        prompts: number of records whose prompt was cleaned of syntax, and of those in a
            script without spaces.
        families: number of records by the name of their family.
        own_splits: if the source has its own splits, for each split the number of
            records by `digest_words`; over all parts, these show prompts in two splits.
    """

    dropped: collections.Counter = dataclasses.field(
        default_factory=lambda: collections.Counter(dict.fromkeys(FILTERS, 0))
    )
    rejected: collections.Counter = dataclasses.field(
        default_factory=lambda: collections.Counter(dict.fromkeys(REJECTIONS, 0))
    )
    rejected_examples: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    examples: collections.Counter = dataclasses.field(
        default_factory=lambda: collections.Counter(dict.fromkeys(SPLITS, 0))
    )
    syntax: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    prompts: collections.Counter = dataclasses.field(
        default_factory=collections.Counter
    )
    families: collections.Counter = dataclasses.field(
        default_factory=collections.Counter
    )
    own_splits: dict[str, collections.Counter] = dataclasses.field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Number of all rows."""
        return self.dropped.total() + self.rejected.total() + self.examples.total()

    @property
    def reject_rate(self) -> float:
        """Share of the rows that were rejected, 0-1."""
        return self.rejected.total() / max(1, self.rows)

    def lose(self, cause: str, name: str, num_rows: int = 1) -> None:
        """Counts rows that become no record.

        Args:
            cause: the filter that dropped them, or the cause of the rejection.
            name: name of the image or part, kept as an example.
            num_rows: number of rows.
        """
        if cause in _DROPS:
            self.dropped[cause] += num_rows
            return
        self.rejected[cause] += num_rows
        names = self.rejected_examples.setdefault(cause, [])
        if len(names) < MAX_EXAMPLES:
            # Names of files can contain bytes that are not UTF-8.
            names.append(name.encode(errors="backslashreplace").decode())

    def keep(
        self, split: str, record: Record, cleaned: bool = False, is_own: bool = False
    ) -> None:
        """Counts a row that becomes a record.

        Args:
            split: the record's split.
            record: the record.
            cleaned: whether its prompt was changed.
            is_own: whether the split comes from the source.
        """
        self.examples[split] += 1
        if found := find_syntax(record.prompt):
            self.syntax.update([ANY_SYNTAX, *found])
        if cleaned:
            self.prompts[CLEANED] += 1
        if is_unspaced(record.prompt):
            self.prompts[UNSPACED] += 1
        if record.family:
            self.families[record.family] += 1
        if is_own:
            known = self.own_splits.setdefault(split, collections.Counter())
            known[digest_words(record.words)] += 1

    def as_json(self) -> dict:
        """The counts as plain dicts; later additions only if they are not empty."""
        counts = {
            "rows": self.rows,
            "dropped": dict(self.dropped),
            "rejected": dict(self.rejected),
            "rejected_examples": self.rejected_examples,
            "examples": dict(self.examples),
        }
        for name in _LATER:
            if found := getattr(self, name):
                counts[name] = dict(found)
        return counts

    @property
    def causes(self) -> str:
        """The causes for which rows were lost, with their counts, in one line."""
        losses = [*self.dropped.items(), *self.rejected.items()]
        return ", ".join(f"{name} {count}" for name, count in losses if count)

    @property
    def first_rejections(self) -> str:
        """The first names of each cause of rejection, in one line."""
        return "; ".join(
            f"{cause} {', '.join(names)}"
            for cause, names in self.rejected_examples.items()
        )


def describe_families(tally: Tally) -> dict:
    """Returns the content of `stats.json` about families; empty without families.

    Returns:
        dict of `families`, a dict of their number, the number `of_one` record, and the
        sizes of the `largest`.
    """
    if not tally.families:
        return {}
    largest = [size for _, size in tally.families.most_common(_LARGEST)]
    of_one = sum(size == 1 for size in tally.families.values())
    families = {"number": len(tally.families), "of_one": of_one, "largest": largest}
    return {"families": families}


def describe_leaks(tally: Tally) -> dict:
    """Returns the content of `stats.json` about the source's own splits.

    Returns:
        dict of `leaks`, a dict of the number of `prompts` in several splits, and of
        `records`: for validation and test, the number of records whose prompt is also
        in a split that is used for training or for choosing a model.
    """
    splits = tally.own_splits
    if not splits:
        return {}
    found = collections.Counter(
        digest for of_one in splits.values() for digest in of_one
    )
    earlier: set[str] = set()
    records = {}
    for split in SPLITS:
        of_split = splits.get(split, {})
        if split != "train":
            records[split] = sum(n for d, n in of_split.items() if d in earlier)
        earlier.update(of_split)
    prompts = sum(count > 1 for count in found.values())
    return {"leaks": {"prompts": prompts, "records": records}}


def digest_words(words: Sequence[str]) -> str:
    """Hashes a normalised prompt to 12 hexadecimal digits."""
    return hashlib.blake2b(" ".join(words).encode(), digest_size=6).hexdigest()


def is_sound(stats: dict) -> bool:
    """Whether stats that were read from a file hold counts and names.

    Raises:
        KeyError, AttributeError, TypeError: if parts of them are missing.
    """
    parts = [stats["dropped"], stats["rejected"], stats["examples"]]
    parts += [stats.get(name, {}) for name in ("syntax", "prompts", "families")]
    parts += stats.get("own_splits", {}).values()
    counts = [n for part in parts for n in part.values()]
    names = [name for found in stats["rejected_examples"].values() for name in found]
    return all(type(n) is int and n >= 0 for n in counts) and all(
        isinstance(name, str) for name in names
    )


def sum_stats(stats: Iterable[dict]) -> Tally:
    """Adds up the stats of parts, in the order given."""
    total = Tally()
    for part in stats:
        total.dropped.update(part["dropped"])
        total.rejected.update(part["rejected"])
        total.examples.update(part["examples"])
        for name in ("syntax", "prompts", "families"):
            getattr(total, name).update(part.get(name, {}))
        for split, counts in part.get("own_splits", {}).items():
            total.own_splits.setdefault(split, collections.Counter()).update(counts)
        for cause, names in part["rejected_examples"].items():
            known = total.rejected_examples.setdefault(cause, [])
            known.extend(names[: MAX_EXAMPLES - len(known)])
    return total


def write_rejects(stats: Iterable[dict], path: str | os.PathLike) -> None:
    """Writes a CSV of `cause,count,part,image_name`, the first names of each cause.

    Args:
        stats: result of `convert_part` for each part.
        path: the CSV; written atomically.
    """
    with (
        replacing(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(("cause", "count", "part", "image_name"))
        for part in stats:
            for cause, names in part["rejected_examples"].items():
                count = part["rejected"][cause]
                writer.writerows((cause, count, part["part"], name) for name in names)


def summarise(tally: Tally) -> str:
    """Formats the counts as lines of text."""
    groups = {
        "dropped": tally.dropped,
        "rejected": tally.rejected,
        "kept": tally.examples,
    }
    lines = [f"{'rows':<22}{tally.rows:>10,}"]
    for title, counts in groups.items():
        lines.append(f"{title:<22}{counts.total():>10,}")
        for name, count in counts.items():
            if count or title != "rejected":
                lines.append(f"  {name.replace('_', ' '):<20}{count:>10,}")
    if families := describe_families(tally).get("families"):
        largest = ", ".join(map(str, families["largest"]))
        lines.append(f"{'families':<22}{families['number']:>10,}")
        lines.append(f"  the largest have {largest} records")
    return "\n".join(lines)
