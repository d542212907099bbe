"""The task of a retriever: index training images, and learn words from features."""

import dataclasses
import pathlib
import sys

import keras
import numpy as np

from tf_prompt.data import records, targets
from tf_prompt.data.vectors import unit_rows
from tf_prompt.inference.retrieval import RetrievalIndex, RetrievalModel, is_index
from tf_prompt.runs import folder as run_folder
from tf_prompt.runs.config import settings
from tf_prompt.training import retrieval_settings
from tf_prompt.training.ending_vectors import fit_endings
from tf_prompt.training.ridge import fit_ridge
from tf_prompt.training.tasks.frozen import FrozenEncoderTask, fit_style, scale_style
from tf_prompt.training.tasks.mean_regions import regions_and_style
from tf_prompt.training.text_vectors import TextVectors


class RetrievalTask(FrozenEncoderTask):
    """Fits a retriever without gradient descent.

    The run's folder gets `best.keras` and the index of the training split. The map
    from features to words is a ridge regression. Its penalty, and the settings of the
    retriever that `--set` does not give, are chosen on the validation split.

    Args:
        config, run_dir, folder: see `Task`.

    Raises:
        FileNotFoundError: if a split is missing.
    """

    @classmethod
    def has_result(cls, run_dir: pathlib.Path) -> bool:
        """See `Task`."""
        return super().has_result(run_dir) and is_index(run_dir)

    def _fit(self, model: keras.Model) -> None:
        features, style, prompts = self._read(model, "train")
        others, other_style, other_prompts = self._read(model, "validation")
        vectors = TextVectors(prompts, model.text_dim)
        words = vectors(prompts)
        kernel, bias = fit_ridge(features, words, others, vectors(other_prompts))
        model.text_proj.set_weights([kernel, bias])
        fit_style(model, style)
        style, other_style = (scale_style(model, s) for s in (style, other_style))
        parts = zip(*map(_blocks, (features, words, style)), strict=True)
        rows = np.concatenate([_join(*part) for part in parts])
        queries = [unit_rows(others), unit_rows(others @ kernel + bias)]
        queries.append(unit_rows(other_style))
        families = records.number_families(self.folder, "validation")
        truth = other_prompts, families
        self._choose(model, rows, prompts, queries, truth)
        start, end = model.depth, model.depth + model.text_dim
        rows[:, start:end] *= np.float16(model.text_weight**0.5)
        rows[:, end:] *= np.float16(model.style_weight**0.5)
        index = RetrievalIndex(rows, prompts)
        seen = np.concatenate([queries[0], queries[2]], axis=1)
        index = self._add_endings(model, index, features, (seen, *truth))
        index.save(self.run_dir)
        run_folder.save_model(model, self.run_dir / run_folder.BEST_MODEL)

    def _choose(self, model, rows, prompts, queries, truth) -> None:
        """Sets the model's best settings, except those that `--set` gives.

        Args:
            model, rows, prompts, queries: see `retrieval_settings.choose_settings`.
            truth: its `true_prompts` and `families`.
        """
        given = settings(self.config.set)
        choices = {
            name: (getattr(model, name),) if name in given else values
            for name, values in retrieval_settings.CHOICES.items()
        }
        if not model.style_dim:
            choices["style_weight"] = (0.0,)
        chosen = retrieval_settings.choose_settings(
            rows, prompts, queries, *truth, choices
        )
        for name, value in chosen.items():
            setattr(model, name, value)
        told = ", ".join(f"{name} {value:g}" for name, value in chosen.items())
        print(f"chosen on validation: {told}", file=sys.stderr)

    def _add_endings(self, model, index, features, validation) -> RetrievalIndex:
        """Sets the model's separator, and adds the endings that it needs.

        `--set` may give the separator. Otherwise the model has one if that raises both
        BLEU and METEOR on validation.

        Args:
            model: a `Retriever` with its other settings.
            index: the index of the training images.
            features: float `(images, depth)`, features of the training images.
            validation: what is seen of the images, true prompts and families, see
                `retrieval_settings.score_families`.

        Returns:
            The index, with endings if the model has a separator.

        Raises:
            ValueError: if `--set` gives a separator that training prompts do not have.
        """
        given = settings(self.config.set)
        separator = given.get("separator", retrieval_settings.SEPARATOR)
        if not separator:
            return index
        endings = fit_endings(features, index.prompts, separator)
        if endings is None:
            if "separator" in given:
                raise ValueError(
                    "separator must be between words of at least two training "
                    f"prompts. Received: {separator}"
                )
            return index
        extended = dataclasses.replace(index, endings=endings)
        if "separator" in given:
            return extended
        whole = self._score(model, "", index, validation)
        parted = self._score(model, separator, extended, validation)
        if parted[0] > whole[0] and parted[1] > whole[1]:
            return extended
        model.separator = ""
        return index

    def _score(self, model, separator, index, validation) -> tuple[float, float]:
        """Sets the model's separator; computes and prints BLEU and METEOR with it."""
        model.separator = separator
        writer = RetrievalModel(model, index, self.config.preset)
        bleu, meteor = retrieval_settings.score_families(writer, *validation)
        print(
            f"separator {separator!r}: BLEU {bleu:.1f}, METEOR {meteor:.1f} on "
            "validation",
            file=sys.stderr,
        )
        return bleu, meteor

    def _read(self, model, split: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Returns features, style, see `regions_and_style`, and prompts of a split."""
        shards = records.list_shards(self.folder, split)
        prompts = [p for s in shards for p in targets.read_prompts(s, "words")]
        return *regions_and_style(self, model, split), prompts


def _join(*parts):
    """Joins features, words and style, each of unit length; weighted later."""
    joined = np.concatenate([unit_rows(part) for part in parts], axis=1)
    return joined.astype(np.float16)


def _blocks(rows, size=4096):
    for start in range(0, len(rows), size):
        yield rows[start : start + size].astype(np.float32)
