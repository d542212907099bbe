"""Counts over rows, before and after the filters."""

import collections
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from pipelines.diffusiondb.metadata import dropped_by
from pipelines.options import Filters

# The columns that `dropped_by` uses for each filter; given only one filter's columns,
# it applies only that filter.
FILTER_COLUMNS = {
    "not_square": ["width", "height"],
    "blurred": ["image_nsfw"],
    "low_cfg": ["cfg"],
    "few_steps": ["step"],
}
# The numbers that DiffusionDB's card gives to the samplers.
SAMPLERS = {
    1: "ddim",
    2: "plms",
    3: "k_euler",
    4: "k_euler_ancestral",
    5: "k_heun",
    6: "k_dpm_2",
    7: "k_dpm_2_ancestral",
    8: "k_lms",
    9: "others",
}
TOP = 20
# Above any width and height.
_SHIFT = 2**20


def pair(before, after) -> dict[str, int]:
    """Returns a number before and one after the filters, as the summary has them."""
    return {"before": int(before), "after": int(after)}


class PairCounter:
    """Counts images of each name, before and after the filters."""

    def __init__(self):
        self.before = collections.Counter()
        self.after = collections.Counter()

    def add(self, names: Iterable[str], before: int, after: int) -> None:
        """Counts images for each name.

        Args:
            names: the names.
            before: number of images before the filters.
            after: number of images after them.
        """
        for name in names:
            self.before[name] += before
            if after:
                self.after[name] += after

    def list_top(self, top: int) -> list[dict]:
        """Lists `value`, `before` and `after`, most frequent first, then by name."""
        ranked = sorted(self.before.items(), key=lambda item: (-item[1], item[0]))
        return [
            {"value": name, **pair(count, self.after[name])}
            for name, count in ranked[:top]
        ]


def judge_rows(
    rows: pd.DataFrame, filters: Filters, by_prompt: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Finds which filters drop each row, each filter on its own.

    Args:
        rows: table with some of DiffusionDB's columns.
        filters: the limits.
        by_prompt: dict from each filter of prompts to bool `(rows,)`.

    Returns:
        Bool `(rows, filters)`, True where the filter drops the row; the columns
        are in the order of `filters.names`.
    """
    drops = np.zeros((len(rows), len(filters.names)), bool)
    for index, name in enumerate(filters.names):
        if name in by_prompt:
            drops[:, index] = by_prompt[name]
            continue
        columns = [column for column in FILTER_COLUMNS[name] if column in rows]
        drops[:, index] = dropped_by(rows[columns], filters) == name
    return drops


def count_filters(rows: pd.DataFrame, drops: np.ndarray, filters: Filters) -> dict:
    """Counts the rows that each filter drops.

    Args:
        rows: table with some of DiffusionDB's columns.
        drops: from `judge_rows`.
        filters: the limits.

    Returns:
        dict from each of `filters.names` to a dict of `rule`; `state`, which is `on`,
        `off` or `not in this source`; `rows` that it drops; `first`, those that no
        filter before it drops, as `write_records` counts; and `only`, those that no
        other filter drops.
    """
    rules = {
        "not_square": "width is not height",
        "blurred": "image_nsfw is 2",
        "low_cfg": f"cfg below {filters.min_cfg:g}",
        "few_steps": f"step below {filters.min_step}",
        "few_words": f"fewer words than {filters.min_words}",
        "other_script": f"script is not {filters.scripts}",
    }
    off = {"not_square": not filters.wants_squares, "blurred": not filters.drop_blurred}
    num_drops = drops.sum(axis=1)
    result = {}
    for index, name in enumerate(filters.names):
        dropped = drops[:, index]
        state = "off" if off.get(name) else "on"
        if not set(FILTER_COLUMNS.get(name, ())) <= set(rows.columns):
            state = "not in this source"
        result[name] = {
            "rule": rules[name],
            "state": state,
            "rows": int(dropped.sum()),
            "first": int((dropped & ~drops[:, :index].any(axis=1)).sum()),
            "only": int((dropped & (num_drops == 1)).sum()),
        }
    return result


def count_overlaps(drops: np.ndarray, names: Sequence[str]) -> dict[str, list[dict]]:
    """Counts rows by the filters that drop them.

    Args:
        drops: from `judge_rows`.
        names: names of its columns.

    Returns:
        dict of `exact`, rows dropped by exactly these filters, most rows first, without
        the kept rows; and `pairs`, rows dropped by both of two filters, and possibly by
        others.
    """
    masks = drops @ (1 << np.arange(len(names)))
    counts = np.bincount(masks, minlength=1 << len(names))
    exact = [
        {
            "filters": [n for bit, n in enumerate(names) if mask >> bit & 1],
            "rows": int(counts[mask]),
        }
        for mask in range(1, len(counts))
        if counts[mask]
    ]
    exact.sort(key=lambda overlap: -overlap["rows"])
    pairs = [
        {
            "filters": [names[i], names[j]],
            "rows": int((drops[:, i] & drops[:, j]).sum()),
        }
        for i, j in itertools.combinations(range(len(names)), 2)
    ]
    return {"exact": exact, "pairs": pairs}


def count_values(values: pd.Series, kept: np.ndarray, top: int = TOP) -> dict:
    """Counts the values of a column.

    Args:
        values: one value per row.
        kept: bool `(rows,)`, True for a row that no filter drops.
        top: number of most frequent values to list.

    Returns:
        dict of the numbers of `distinct` values and `unknown` rows, and `top`, a list
        of `value`, `before` and `after`, most frequent first.
    """
    before, after = values.value_counts(), values[kept].value_counts()
    listed = sorted(before.items(), key=lambda item: (-item[1], item[0]))[:top]
    return {
        "distinct": pair(len(before), len(after)),
        "unknown": pair(values.isna().sum(), values[kept].isna().sum()),
        "top": [
            {"value": value, **pair(count, after.get(value, 0))}
            for value, count in listed
        ],
    }


def count_columns(rows: pd.DataFrame, kept: np.ndarray) -> dict[str, dict | None]:
    """Counts each column of the metadata; None if the source does not have it.

    Args:
        rows: table with some of DiffusionDB's columns.
        kept: as in `count_values`.

    Returns:
        dict of `sizes` (width x height), `samplers`, `cfg`, `step` and `days`, as from
        `count_values`; and `seeds`, the numbers of distinct ones.
    """
    result: dict[str, dict | None] = dict.fromkeys(
        ("sizes", "samplers", "cfg", "step", "days", "seeds")
    )
    if {"width", "height"} <= set(rows.columns):
        # As one number, exact in a float64: strings would take 150 MB of memory.
        sizes = rows["width"].astype("float64") * _SHIFT + rows["height"]
        result["sizes"] = _rename(count_values(sizes, kept), _name_size)
    if "sampler" in rows:
        result["samplers"] = _rename(count_values(rows["sampler"], kept), _name_sampler)
    for name in ("cfg", "step"):
        if name in rows:
            result[name] = _rename(count_values(rows[name], kept), "{:g}".format)
    if "timestamp" in rows:
        days = rows["timestamp"].dt.floor("D")
        result["days"] = _rename(
            count_values(days, kept, top=1000), "{:%Y-%m-%d}".format
        )
        result["days"]["top"].sort(key=lambda entry: entry["value"])
    if "seed" in rows:
        seeds = rows["seed"]
        result["seeds"] = pair(seeds.nunique(), seeds[kept].nunique())
    return result


def _rename(counts: dict, name: Callable) -> dict:
    top = [{**entry, "value": name(entry["value"])} for entry in counts["top"]]
    return {**counts, "top": top}


def _name_size(size: float) -> str:
    return " x ".join(map(str, divmod(int(size), _SHIFT)))


def _name_sampler(number: float | str) -> str:
    if isinstance(number, str):
        return number or "none named"
    return SAMPLERS.get(int(number), f"number {number:g}")
