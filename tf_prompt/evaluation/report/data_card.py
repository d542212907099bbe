"""Facts about a run's data: source, filters, numbers of images kept."""

import hashlib
import pathlib

from tf_prompt.data import split, text
from tf_prompt.data.toy import grammar
from tf_prompt.data.toy import shards as toy_shards
from tf_prompt.evaluation.report.document import ABSENT
from tf_prompt.files import read_json


def describe_data(data: str) -> dict[str, str]:
    """Collects facts about a data set.

    Args:
        data: `toy` or a folder of shards, as in a run's option `data`.

    Returns:
        dict from the name of a fact to its text, in reading order. For a folder that
        is missing or has no `stats.json`, "not measured" and the reason.
    """
    if data == "toy":
        return _describe_toy()
    folder = pathlib.Path(data)
    if not folder.is_dir():
        return {"source": f"{ABSENT}: the folder is not here", "folder": data}
    facts = {"folder": data, "fingerprint": fingerprint(folder)}
    if not (folder / "stats.json").is_file():
        return {"source": f"{ABSENT}: the folder has no stats.json", **facts}
    stats = _read_stats(folder / "stats.json")
    dropped, rejected = stats.get("dropped", {}), stats.get("rejected", {})
    return {
        "source": str(stats.get("source", ABSENT)),
        **facts,
        "rows": _count(stats.get("rows")),
        "filters": _list_flags(stats.get("flags", {})),
        "dropped by filter": _list_counts(dropped),
        "rejected": _list_counts({k: n for k, n in rejected.items() if n}),
        "near-duplicates": _describe_groups(stats),
        **_list_splits(stats.get("examples", {})),
    }


def fingerprint(folder: pathlib.Path) -> str:
    """Hashes the names and sizes of the shards, and the stats of `write_records`.

    The stats hold a digest of each source part: other images, filters or splits give
    another fingerprint.

    Returns:
        12 hexadecimal digits of a SHA-256.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.tfrecord")):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
    for path in sorted([*folder.glob("part-*.json"), *folder.glob("stats.json")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _describe_toy() -> dict[str, str]:
    # From the grammar alone, because the set may not have been written here.
    counts = dict.fromkeys(split.SPLITS, 0)
    for _, prompt in grammar.draw_prompts(toy_shards.NUM_PROMPTS, 0):
        counts[split.split_of(text.split_words(prompt))] += 1
    return {
        "source": "toy: prompts from a grammar, drawn images",
        "folder": "written to the cache on first use",
        "fingerprint": f"toy version {toy_shards.TOY_VERSION}",
        "rows": _count(toy_shards.NUM_PROMPTS),
        "filters": "none",
        "dropped by filter": "0",
        "rejected": "0",
        "near-duplicates": "none: prompts are distinct",
        **_list_splits(counts),
    }


def _read_stats(path: pathlib.Path) -> dict:
    """Reads the stats of write_records.

    Raises:
        ValueError: if counts are missing or are not numbers.
    """
    stats = read_json(path)
    sound = isinstance(stats, dict) and type(stats.get("rows", 0)) is int
    for key in ("dropped", "rejected", "examples", "flags"):
        part = stats.get(key, {}) if sound else None
        counts = part.values() if isinstance(part, dict) and key != "flags" else ()
        sound = isinstance(part, dict) and all(type(n) is int for n in counts)
    if not sound:
        raise ValueError(f"stats.json must be that of write_records. Received: {path}")
    return stats


def _count(value) -> str:
    return ABSENT if value is None else f"{value:,}"


def _list_counts(counts: dict) -> str:
    listed = ", ".join(f"{k.replace('_', ' ')} {n:,}" for k, n in counts.items())
    total = f"{sum(counts.values()):,}"
    return f"{total} ({listed})" if listed else total


def _list_flags(flags: dict) -> str:
    return ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in flags.items()) or ABSENT


def _describe_groups(stats: dict) -> str:
    if "near_duplicate_jaccard" not in stats:
        return ABSENT
    threshold = stats["near_duplicate_jaccard"]
    if threshold is None:
        return "not grouped"
    return f"grouped before the split, Jaccard {threshold}"


def _list_splits(examples: dict) -> dict[str, str]:
    return {f"kept: {name}": _count(examples.get(name)) for name in split.SPLITS}
