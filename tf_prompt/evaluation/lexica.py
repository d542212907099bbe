"""The published protocol for modifiers, with the published numbers.

Reference: Shen et al., 2023, "Prompt Stealing Attacks Against Text-to-Image Generation
Models", https://arxiv.org/abs/2302.09923, the method PromptStealer on LexicaDataset.
"""

import collections
import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from tf_prompt.data.modifier_batches import read_modifiers
from tf_prompt.data.text import normalise
from tf_prompt.evaluation.prediction_log import MODIFIERS, families_of
from tf_prompt.evaluation.scoring import format_difference
from tf_prompt.evaluation.semantic import SemanticSimilarity
from tf_prompt.metrics import modifiers, score

PUBLISHED = {"semantic": 0.6999, "jaccard": 0.4477}
_NUM_COMMON = 10
_MODEL, _COMMONEST = "model", "ten_commonest"
# Columns of the whole prompts whose semantic similarity is measured.
_COLUMNS = {_MODEL: "prediction", "nearest_neighbour": "nearest_neighbour"}
SEMANTIC = "semantic_similarity"
# Key of the paired tests beside the writers.
AGAINST = "against_commonest"


@dataclasses.dataclass(frozen=True)
class Modifiers:
    """The modifiers of the prompts that have some.

    Attributes:
        true: those of each true prompt.
        found: for each writer, `model` and baselines, those of its prompts.
        families: the family of each prompt; None if there are no families.
        cosines: for each writer of prompts, float64 `(prompts,)`, their semantic
            similarity with the true ones; empty if it was not measured.
        signature: that of the similarity.
    """

    true: list[list[str]]
    found: dict[str, list[list[str]]]
    families: list[str] | None
    cosines: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    signature: str = ""


def collect(
    rows: Sequence[dict],
    folder,
    split: str,
    semantic: SemanticSimilarity | None = None,
) -> Modifiers:
    """Finds the modifiers of true and written prompts.

    Prompts without modifiers are left out, because predicting none would always be
    right. If a model lists modifiers, these count. In other prompts without commas,
    the modifiers of training prompts are searched for; the writer `true_words` does
    the same with the true prompts, and shows what is lost.

    Args:
        rows: rows of an evaluation, the first of the split, in its order.
        folder: folder of shards.
        split: one of `split.SPLITS`.
        semantic: measures semantic similarity; None leaves it out.
    """
    to_words = functools.partial(normalise, max_words=None)
    counts = collections.Counter(m for found in _read(folder, "train") for m in found)
    search = modifiers.ModifierFinder(counts)

    def find(text):
        return (
            modifiers.split_modifiers(text, to_words) if "," in text else search(text)
        )

    families, true = families_of(rows), _read(folder, split)[: len(rows)]
    kept = [i for i, found in enumerate(true) if found]
    rows = [rows[i] for i in kept]
    common = [modifier for modifier, _ in counts.most_common(_NUM_COMMON)]
    found = {
        # The model's own list if it has one: in its words, commas are lost.
        _MODEL: [
            row[MODIFIERS].split(", ") if MODIFIERS in row else find(row["prediction"])
            for row in rows
        ],
        "nearest_neighbour": [find(row["nearest_neighbour"]) for row in rows],
        "true_words": [find(row["reference"]) for row in rows],
        _COMMONEST: [common] * len(rows),
    }
    families = families and [families[i] for i in kept]
    measured = Modifiers([true[i] for i in kept], found, families)
    if semantic is None or not rows:
        return measured
    references = [row["reference"] for row in rows]
    written = {name: [row[column] for row in rows] for name, column in _COLUMNS.items()}
    return dataclasses.replace(
        measured,
        cosines=semantic(references, written),
        signature=semantic.signature,
    )


def summarise(parts: Sequence[Modifiers]) -> dict:
    """Compares the modifiers of true and written prompts.

    Args:
        parts: those of one run, or of the runs of several folds.

    Returns:
        dict of `examples`, the number of prompts with modifiers; and for each writer
        the metrics of `metrics.modifiers`, as entries of `metrics.json`; and
        `AGAINST`, for each metric a paired test against the ten commonest; and
        `SEMANTIC`, the semantic similarity by writer, if it was measured.
    """
    parts = [part for part in parts if part.true]
    if not parts:
        return {"examples": 0}
    true = [found for part in parts for found in part.true]
    families = None
    if all(part.families for part in parts):
        families = [name for part in parts for name in part.families]
    writers = {
        name: [found for part in parts for found in part.found[name]]
        for name in parts[0].found
    }
    counts = {
        name: modifiers.count_matches(true, sets) for name, sets in writers.items()
    }
    return {
        "examples": len(true),
        **{
            name: score.summarise_all(_measure(statistics), families=families)
            for name, statistics in counts.items()
        },
        AGAINST: score.compare_all(
            _measure(counts[_MODEL]), _measure(counts[_COMMONEST]), families
        ),
        SEMANTIC: {
            name: score.summarise(
                np.concatenate([part.cosines[name] for part in parts]),
                parts[0].signature,
                families=families,
            )
            for name in parts[0].cosines
        },
    }


def _read(folder, split) -> list[list[str]]:
    return [found for shard in read_modifiers(folder, split) for _, found in shard]


def _measure(counts) -> dict[str, score.Measured]:
    return {
        name: (
            counts,
            modifiers.SIGNATURE,
            functools.partial(modifiers.score_sums, metric=name),
        )
        for name in modifiers.METRICS
    }


def format_table(found: dict) -> str:
    """Formats the results of `summarise` as a table beside the published numbers.

    The published numbers are those of LexicaDataset's own test split, which cannot be
    rebuilt here: our splits go by prompt, theirs by image.
    """
    if not found["examples"]:
        return "modifiers: no true prompt has any: there is no part behind a comma"
    lines = [f"modifiers of {found['examples']} prompts that have some, 0 to 1:"]
    lines.append(f"{'':20}" + "".join(f"{name:>28}" for name in modifiers.METRICS))
    for name, scores in found.items():
        if name not in ("examples", AGAINST, SEMANTIC):
            lines.append(f"{name:20}" + "".join(_cell(v) for v in scores.values()))
    lines += [
        format_difference(name, entry, "the ten commonest", 4)
        for name, entry in found[AGAINST].items()
    ]
    lines += [
        f"PromptStealer on LexicaDataset: Jaccard {PUBLISHED['jaccard']}, semantic "
        f"similarity {PUBLISHED['semantic']}; another split: not comparable directly",
        *_format_semantic(found[SEMANTIC]),
        f"jaccard: {found[_MODEL]['jaccard']['signature']}",
    ]
    return "\n".join(lines)


def _format_semantic(found) -> list[str]:
    if not found:
        return [
            "semantic similarity, the cosine of texts by CLIP: not measured without "
            "--clip"
        ]
    cells = ", ".join(f"{name} {_cell(v).strip()}" for name, v in found.items())
    return [f"semantic similarity: {cells}", found[_MODEL]["signature"]]


def _cell(value: dict) -> str:
    text = f"{value['score']:.4f}"
    if value["low"] is not None:
        text += f" [{value['low']:.4f}, {value['high']:.4f}]"
    return f"{text:>28}"
