"""Fits what joins the models of an ensemble, on the validation split."""

import pathlib

import numpy as np

from tf_prompt.data import folder as data_folder
from tf_prompt.data.embedding_batches import Examples
from tf_prompt.files import write_json
from tf_prompt.inference import loading
from tf_prompt.models import presets
from tf_prompt.runs import folder as run_folder
from tf_prompt.runs.config import FitConfig, settings
from tf_prompt.training import ensemble_comparison, ensemble_weights, recipes

COMPARISON = "comparison.json"


def fit_ensemble(
    config: FitConfig, run_dir: pathlib.Path
) -> ensemble_comparison.Comparison:
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
    joined = [loading.load_member(spec) for spec in config.members]
    folder = data_folder.find_data(config.data)
    run_folder.open_run(run_dir, config)
    fitted = _embed_split(joined, folder, "validation", config.batch_size)
    measured = _embed_split(joined, folder, "test", config.batch_size)
    names = [member.name for member in joined]
    comparison = ensemble_comparison.compare(names, *fitted, measured)
    model = presets.build(
        config.preset, **{"members": names, "member_weights": None, **overrides}
    )
    if model.stacking:
        stacking = comparison.stacking
        model.set_stacking(stacking.kernel, stacking.bias)
    else:
        model.set_mixing(ensemble_weights.fit_simplex(*fitted))
    run_folder.save_model(model, run_dir / run_folder.BEST_MODEL)
    write_json(run_dir / COMPARISON, ensemble_comparison.to_json(comparison))
    return comparison


def _embed_split(joined, folder, split, batch_size) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings `(examples, members, 384)` and targets `(examples, 384)`."""
    examples = Examples(folder, split)
    embeddings = []
    for number, member in enumerate(joined, start=1):
        task = f"{member.name} on {split} ({number}/{len(joined)})"
        batches = examples.batches(batch_size, task)
        found = [loading.predict_encoded(member, batch["image"]) for batch in batches]
        embeddings.append(np.concatenate([part.embeddings for part in found]))
    return np.stack(embeddings, axis=1), examples.targets()
