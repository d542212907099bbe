"""Shared parts of tasks that train taggers: the modifiers, and the threshold."""

import pathlib
from collections.abc import Sequence

import numpy as np

from tf_prompt.data.modifier_batches import choose_modifiers
from tf_prompt.files import replacing
from tf_prompt.inference.loading import Loader
from tf_prompt.runs import folder as run_folder
from tf_prompt.runs.config import FitConfig
from tf_prompt.training.tasks.task import Task

# Fine near 0: the best threshold of calibrated probabilities is half the F1 it reaches
# (Lipton et al., 2014, https://arxiv.org/abs/1402.1892, section 3), which is low where
# most modifiers are rare.
THRESHOLDS = np.concatenate([np.arange(0.005, 0.05, 0.005), np.arange(0.05, 1, 0.025)])


class TaggerTask(Task):
    """A task of a tagger, mixed into its way of training.

    A new run chooses its modifiers from the training split; a resumed run reads them
    from its folder.

    Args:
        config, run_dir, folder: see `Task`.

    Attributes:
        own_options: names of the options of `fit` that apply to taggers.
        modifiers: list of the modifiers, in the order of the model's outputs.

    Raises:
        FileNotFoundError: if the training split has no shards.
        ValueError: if no modifier is frequent enough, or a part of the run that writes
            the subject is damaged.
    """

    own_options = frozenset({"modifier_prompts", "members"})
    derived = {"num_modifiers": "modifier_prompts"}
    protocol = "lexica"

    def __init__(self, config: FitConfig, run_dir: pathlib.Path, folder: pathlib.Path):
        super().__init__(config, run_dir, folder)
        check_subject(config.members)
        self.modifiers = open_modifiers(run_dir, folder, config.modifier_prompts)

    def overrides(self) -> dict:
        """See `Task`."""
        return {"num_modifiers": len(self.modifiers), **super().overrides()}


def check_subject(members: Sequence[str]) -> None:
    """Checks the run that writes the subject, before anything is trained.

    Args:
        members: folders of runs, see `FitConfig`.

    Raises:
        ValueError: if there are several, or it is none that writes subjects.
    """
    if len(members) > 1:
        raise ValueError(
            "members of a tagger must be at most one run, which writes the subject. "
            f"Received: {len(members)}"
        )
    for member in members:
        try:
            lists_modifiers = Loader().load_writer(member).lists_modifiers
        except (FileNotFoundError, ValueError) as error:
            raise ValueError(
                "members must be the folder of a trained run, which writes the "
                f"subject. Received: {member} ({error})"
            ) from error
        if lists_modifiers:
            raise ValueError(
                "members must be a run that writes whole prompts. "
                f"Received: {member}, a tagger"
            )


def open_modifiers(
    run_dir: pathlib.Path, folder: pathlib.Path, num_prompts: int
) -> list[str]:
    """Reads the modifiers of a run; a new run chooses and writes them first.

    Args:
        run_dir: folder of the run.
        folder, num_prompts: see `modifier_batches.choose_modifiers`.

    Raises:
        FileNotFoundError: if the training split has no shards.
        ValueError: if no modifier is in so many prompts.
    """
    path = run_dir / run_folder.MODIFIERS
    if not path.is_file():
        chosen = choose_modifiers(folder, num_prompts)
        with replacing(path) as temporary:
            lines = "".join(f"{modifier}\n" for modifier in chosen)
            temporary.write_text(lines, encoding="utf-8")
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def choose_threshold(probabilities, flags, counts) -> tuple[float, float]:
    """Chooses the threshold with the highest micro-averaged F1.

    It is that of `evaluate --protocol lexica`: examples without modifiers are left out,
    those that the tagger does not know are missed, and each prompt gets its most
    probable modifier at least.

    Args:
        probabilities: float `(examples, modifiers)`.
        flags: bool `(examples, modifiers)`.
        counts: int `(examples,)`, not all 0. Number of modifiers of each example, with
            those that the tagger does not know.

    Returns:
        threshold: float, one of `THRESHOLDS`; the middle one among ties.
        f1: float in 0-1.
    """
    kept = counts > 0
    probabilities, flags = probabilities[kept], flags[kept]
    is_first = np.eye(probabilities.shape[1], dtype=bool)[probabilities.argmax(axis=1)]
    scores = []
    for threshold in THRESHOLDS:
        written = (probabilities >= threshold) | is_first
        scores.append(2 * (written & flags).sum() / (written.sum() + counts.sum()))
    ties = np.flatnonzero(scores == np.max(scores))
    best = ties[len(ties) // 2]
    return float(THRESHOLDS[best]), float(scores[best])
