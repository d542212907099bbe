"""The task of an ensemble: combine the embeddings of several runs."""

import pathlib

import keras
import numpy as np

from tf_prompt.data.embedding_batches import Examples
from tf_prompt.files import write_json
from tf_prompt.inference import loading
from tf_prompt.runs import folder as run_folder
from tf_prompt.runs.config import FitConfig
from tf_prompt.training import ensemble_comparison
from tf_prompt.training.tasks.at_once import AtOnceTask

COMPARISON = "comparison.json"


class EnsemblingTask(AtOnceTask):
    """Fits the weights of several runs, and compares with each run alone.

    The weights come from a search on the simplex, or, with `--set stacking=True`, a
    matrix from ridge regression; both are fitted on the validation split and measured
    on the test split. The run's folder gets `best.keras` and `comparison.json`.

    Args:
        config, run_dir, folder: see `Task`; `config.members` names the runs.

    Attributes:
        members: list of the runs' models.

    Raises:
        FileNotFoundError: if a run, or a part of it, is missing.
        ValueError: if a part is damaged, or MiniLM is needed and not available.
    """

    options = AtOnceTask.options | {"members"}
    _arguments = ()

    def __init__(self, config: FitConfig, run_dir: pathlib.Path, folder: pathlib.Path):
        super().__init__(config, run_dir, folder)
        self._loader = loading.Loader()
        self.members = [self._loader.load(spec) for spec in config.members]
        self._names = [member.name for member in self.members]

    @classmethod
    def check(cls, config: FitConfig) -> None:
        """See `Task`."""
        if not config.members:
            raise ValueError(
                f"members must name the runs that {config.preset} combines. "
                "Received: none"
            )

    @classmethod
    def has_result(cls, run_dir: pathlib.Path) -> bool:
        """See `Task`."""
        names = run_folder.BEST_MODEL, COMPARISON
        return all((run_dir / name).is_file() for name in names)

    @classmethod
    def summarise(cls, run_dir: pathlib.Path) -> str:
        """See `Task`."""
        comparison = ensemble_comparison.read_comparison(run_dir / COMPARISON)
        return ensemble_comparison.format_table(comparison)

    def overrides(self) -> dict:
        """See `Task`."""
        return {"members": self._names, "member_weights": None, **super().overrides()}

    def load_state(self, model: keras.Model, run_dir: pathlib.Path) -> dict:
        """See `Task`; `done` is False if a member has changed since the run."""
        if not self.has_result(run_dir):
            return {}
        written = (run_dir / COMPARISON).stat().st_mtime_ns
        runs = map(self._loader.open_run, self.config.members)
        return {"done": all(run.model_stat.st_mtime_ns <= written for run in runs)}

    def _fit(self, model: keras.Model) -> None:
        fitted, measured = self.embed_split("validation"), self.embed_split("test")
        comparison = ensemble_comparison.compare(
            self._names, *fitted, measured, self.config.seed
        )
        if model.stacking:
            stacking = comparison.stacking
            model.set_stacking(stacking.kernel, stacking.bias)
        else:
            model.set_mixing(comparison.simplex)
        run_folder.save_model(model, self.run_dir / run_folder.BEST_MODEL)
        content = ensemble_comparison.to_json(comparison)
        write_json(self.run_dir / COMPARISON, content)

    def embed_split(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Embeds a split with all members.

        Args:
            split: one of `split.SPLITS`.

        Returns:
            embeddings: float32 `(examples, members, 384)`.
            targets: float32 `(examples, 384)`, of the true prompts.

        Raises:
            FileNotFoundError: if there is no such split.
        """
        examples = Examples(self.folder, split)
        embeddings = []
        for number, member in enumerate(self.members, start=1):
            task = f"{member.name} on {split} ({number}/{len(self.members)})"
            parts = [
                member.describe_encoded(batch["image"])["embedding"]
                for batch in examples.batches(self.config.batch_size, task)
            ]
            embeddings.append(np.concatenate(parts))
        return np.stack(embeddings, axis=1), examples.targets()
