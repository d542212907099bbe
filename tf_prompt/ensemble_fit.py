"""Fits what joins the models of an ensemble, on the validation split."""

import pathlib

import numpy as np

from tf_prompt import ensembling, members
from tf_prompt.config import FitConfig, settings
from tf_prompt.data import dataset
from tf_prompt.data.embedding_dataset import Examples
from tf_prompt.models import presets
from tf_prompt.training import recipes, run_folder
from tf_prompt.whole_files import write_json

COMPARISON = "comparison.json"


def fit_ensemble(config: FitConfig, run_dir: pathlib.Path) -> ensembling.Comparison:
    """Fits the weights of several runs, and compares with each run alone.

    Weights come from a simplex search, or, with `--set stacking=True`, a matrix from
    ridge regression; both are fitted on the validation split and measured on the
    test split. The run's folder gets `best.keras` and `comparison.json`.

    Args:
        config: the run's options; `members` names the runs.
        run_dir: folder of the ensemble's run; created.

    Raises:
        FileNotFoundError: if a run or the data is missing.
        ValueError: if there is no member, or the folder holds another run.
    """
    config = recipes.complete(config)
    overrides = settings(config.set)
    presets.check(config.preset, overrides)
    if not config.members:
        raise ValueError(
            f"members must name the runs that {config.preset} joins. Received: none"
        )
    joined = [members.load_member(spec) for spec in config.members]
    folder = dataset.find_data(config.data)
    run_folder.open_run(run_dir, config)
    fitted = _embed_split(joined, folder, "validation", config.batch_size)
    measured = _embed_split(joined, folder, "test", config.batch_size)
    names = [member.name for member in joined]
    comparison = ensembling.compare(names, *fitted, measured)
    model = presets.build(
        config.preset, **{"members": names, "member_weights": None, **overrides}
    )
    if model.stacking:
        stacking = comparison.stacking
        model.set_stacking(stacking.kernel, stacking.bias)
    else:
        model.set_mixing(ensembling.fit_simplex(*fitted))
    run_folder.save_model(model, run_dir / run_folder.BEST_MODEL)
    write_json(run_dir / COMPARISON, ensembling.to_json(comparison))
    return comparison


def _embed_split(joined, folder, split, batch_size) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings `(examples, members, 384)` and targets `(examples, 384)`."""
    examples = Examples(folder, split)
    embeddings = []
    for number, member in enumerate(joined, start=1):
        task = f"{member.name} on {split} ({number}/{len(joined)})"
        batches = examples.batches(batch_size, task)
        found = [members.predict_encoded(member, batch["image"]) for batch in batches]
        embeddings.append(np.concatenate([part.embeddings for part in found]))
    return np.stack(embeddings, axis=1), examples.targets()
