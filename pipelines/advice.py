"""What a user should know about a finished conversion, although it is no error."""

import os
from collections.abc import Collection

import tensorflow as tf

from pipelines.options import Conversion
from pipelines.tally import ANY_SYNTAX, UNSPACED, Tally, describe_leaks
from tf_prompt.data.records import list_shards
from tf_prompt.data.split import SPLITS, split_of

# At most this many records are read again to find shares that help; with more, a split
# is empty only if nearly all prompts are equal.
_MOST_READ = 20_000
# Shares are tried in steps of 1 / 20.
_STEPS = 20
# A model learns what one prompt in a hundred contains.
_MUCH_SYNTAX = 0.01


def advise_empty(
    folder: str | os.PathLike, tally: Tally, conversion: Conversion
) -> str | None:
    """Says which splits came out empty, why, and which flags would fill them.

    Args:
        folder: folder of the shards.
        tally: counts of all of them.
        conversion: how they were made; a split with share 0 is empty on purpose.

    Returns:
        One line; None if no split is empty by chance.
    """
    wanted = [split for split in SPLITS if conversion.shares.get(split, 1.0)]
    empty = [split for split in wanted if not tally.examples[split]]
    if not empty:
        return None
    num_records = tally.examples.total()
    if tally.own_splits:
        return (
            f"{' and '.join(empty)} {'is' if len(empty) == 1 else 'are'} empty in the "
            "source's own splits; fit needs train and validation, evaluate test: "
            "without --split-column a hash deals out the prompts"
        )
    said = f"{' and '.join(empty)} {'is' if len(empty) == 1 else 'are'} empty"
    need = "fit needs train and validation, evaluate test"
    prompts = _read_prompts(folder, tally) if num_records <= _MOST_READ else {}
    if prompts and len(prompts) < len(wanted):
        return (
            f"{said}: all {num_records} records have {_count(prompts)}, and one split "
            f"takes all records of a prompt; {need}: add pictures of other prompts; "
            "--validation and --test set the shares"
        )
    shares = _find_shares(prompts, conversion, wanted)
    if shares is None:
        return (
            f"{said}: prompts, or groups of them, are few and go by a hash; {need}: "
            f"other shares may help, such as {_other_shares(conversion)}"
        )
    flags = " ".join(f"--{split} {share:g}" for split, share in shares.items())
    return (
        f"{said}: {_count(prompts)} went by a hash, and none fell there; {need}: write "
        f"again with {flags}"
    )


def _other_shares(conversion: Conversion) -> str:
    if conversion.fold is not None:
        return "--validation 0.2, or fewer folds"
    return "--validation 0.2 --test 0.2"


def _count(prompts: Collection) -> str:
    return "one prompt" if len(prompts) == 1 else f"{len(prompts)} different prompts"


def advise_syntax(tally: Tally) -> str | None:
    """Says that prompts contain syntax for programs; None if hardly any do."""
    found, num_records = tally.syntax[ANY_SYNTAX], tally.examples.total()
    if found <= _MUCH_SYNTAX * num_records:
        return None
    kinds = [kind for kind in tally.syntax.most_common() if kind[0] != ANY_SYNTAX]
    named = ", ".join(f"{name} {count:,}" for name, count in kinds)
    return (
        f"{found:,} of {num_records:,} prompts ({found / num_records:.1%}) hold syntax "
        f"of A1111, Civitai or Midjourney, whose words a model learns to write: {named}"
    )


# How to keep what a filter drops.
_REMEDIES = {
    "not_square": "--aspect crop or --aspect pad keeps them",
    "blurred": "--no-drop-blurred keeps them",
    "low_cfg": "--min-cfg sets the limit",
    "few_steps": "--min-step sets the limit",
    "few_words": "--min-words sets the limit",
    "other_script": "--scripts names those that are kept",
    "over_prompt": "--max-per-prompt sets the limit",
    "over_family": "--max-per-family sets the limit",
}


def advise_dropped(tally: Tally) -> str | None:
    """Says what dropped more than half of the rows; None if nothing did."""
    dropped = tally.dropped.total()
    if 2 * dropped <= tally.rows:
        return None
    ((cause, count),) = tally.dropped.most_common(1)
    return (
        f"{dropped:,} of {tally.rows:,} rows were dropped, {count:,} as "
        f"{cause.replace('_', ' ')}: {_REMEDIES[cause]}"
    )


def advise_leaks(tally: Tally) -> str | None:
    """Says how many prompts are in several of a source's own splits; None if none."""
    leaks = describe_leaks(tally).get("leaks")
    if not leaks or not leaks["prompts"]:
        return None
    records = " and ".join(
        f"{count:,} of {tally.examples[split]:,} records of {split}"
        for split, count in leaks["records"].items()
        if count
    )
    return (
        f"{leaks['prompts']:,} prompts lie in several of the source's own splits: "
        f"{records} have one that was seen before, and scores on them flatter; without "
        "--split-column no prompt does"
    )


def advise_scripts(tally: Tally) -> str | None:
    """Says that prompts are written without spaces; None if hardly any are."""
    found, num_records = tally.prompts[UNSPACED], tally.examples.total()
    if found <= _MUCH_SYNTAX * num_records:
        return None
    return (
        f"{found:,} of {num_records:,} prompts ({found / num_records:.1%}) are in a "
        "script without spaces, of which the text rule takes whole sentences for "
        "words; --scripts latin drops them"
    )


def _read_prompts(folder, tally: Tally) -> dict[tuple[str, ...], str]:
    """Returns the split of each distinct prompt, whose words are a tuple."""
    feature, found = {"words": tf.io.RaggedFeature(tf.string)}, {}
    for split in SPLITS:
        shards = list_shards(folder, split) if tally.examples[split] else []
        for batch in tf.data.TFRecordDataset(shards).batch(256) if shards else ():
            for words in tf.io.parse_example(batch, feature)["words"].to_list():
                found[tuple(word.decode() for word in words)] = split
    return found


def _find_shares(
    prompts: dict[tuple[str, ...], str], conversion: Conversion, wanted: Collection
) -> dict[str, float] | None:
    """Finds the smallest shares that leave no split empty; returns the changed ones."""
    given = conversion.shares
    if not prompts or any(split_of(w, **given) != s for w, s in prompts.items()):
        # Groups are assigned by a hash that cannot be computed from the records.
        return None
    if conversion.fold is not None:
        return None
    steps = [step / _STEPS for step in range(1, _STEPS)]
    tried = [
        {"validation": validation, "test": test}
        for validation in (steps if "validation" in wanted else [0.0])
        for test in (steps if "test" in wanted else [0.0])
        if validation + test < 1
    ]
    for shares in sorted(tried, key=lambda t: (sum(t.values()), max(t.values()))):
        if {split_of(words, **shares) for words in prompts}.issuperset(wanted):
            return {name: n for name, n in shares.items() if n != given[name]}
    return None
