"""The task of a retriever: index training images, and learn words from features."""

import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf
import tqdm

from tf_prompt.data import folder as data_folder
from tf_prompt.data import images, records, targets
from tf_prompt.data.graphs import compile_function
from tf_prompt.data.vectors import unit_rows
from tf_prompt.inference.retrieval import RetrievalIndex, is_index
from tf_prompt.models.encoders import CONVOLUTIONS
from tf_prompt.runs import folder as run_folder
from tf_prompt.training.ridge import fit_ridge
from tf_prompt.training.tasks.at_once import AtOnceTask
from tf_prompt.training.text_vectors import TextVectors


class RetrievalTask(AtOnceTask):
    """Fits a retriever without gradient descent.

    The run's folder gets `best.keras` and the index of the training split. The map
    from features to words is a ridge regression whose penalty is chosen on the
    validation split.

    Args:
        config, run_dir, folder: see `Task`.

    Raises:
        FileNotFoundError: if a split is missing.
    """

    options = AtOnceTask.options | {"backbone", "backbone_weights", "image_size"}
    report_metrics = ("bleu", "meteor")
    _arguments = ("image_size", "backbone")
    _names = {"backbone": "encoder"}

    @classmethod
    def has_result(cls, run_dir: pathlib.Path) -> bool:
        """See `Task`."""
        return (run_dir / run_folder.BEST_MODEL).is_file() and is_index(run_dir)

    def build_model(self) -> keras.Model:
        """See `Task`.

        Raises:
            ValueError: if pretrained weights are not at hand.
        """
        model = super().build_model()
        encoder = self.argument("encoder")
        if encoder == CONVOLUTIONS:
            print(
                f"the encoder of {self.config.preset} has random weights: it sees "
                "colours and little else",
                file=sys.stderr,
            )
        elif not self.load_backbone(model.image_encoder, encoder):
            raise ValueError(
                f"{encoder} has no pretrained weights: give --backbone-weights. "
                f"Received: --backbone {encoder}"
            )
        return model

    def load_state(self, model: keras.Model, run_dir: pathlib.Path) -> dict:
        """Returns whether the run is done."""
        return {"done": True} if self.has_result(run_dir) else {}

    def _fit(self, model: keras.Model) -> None:
        features, prompts = self._read(model, "train")
        others, other_prompts = self._read(model, "validation")
        vectors = TextVectors(prompts, model.text_dim)
        words = vectors(prompts)
        weights = fit_ridge(features, words, others, vectors(other_prompts))
        model.text_proj.set_weights(weights)
        parts = zip(_blocks(features), _blocks(words), strict=True)
        rows = [model.join(*part).numpy().astype(np.float16) for part in parts]
        RetrievalIndex(np.concatenate(rows), prompts).save(self.run_dir)
        run_folder.save_model(model, self.run_dir / run_folder.BEST_MODEL)

    def _read(self, model, split: str) -> tuple[np.ndarray, list[str]]:
        """Returns a split's features, float16 of unit length, and its prompts."""
        shards = records.list_shards(self.folder, split)
        size, batch_size = model.image_size, self.config.batch_size
        decoded = tf.data.TFRecordDataset(shards).map(
            lambda record: images.decode_stored(records.parse(record)["image"], size),
            tf.data.AUTOTUNE,
        )
        spec = tf.TensorSpec((None, size, size, 3), tf.uint8)
        extract = compile_function(model.extract_features, [spec])
        found = []
        with tqdm.tqdm(
            total=data_folder.count_examples(self.folder, split),
            desc=f"features of {split}",
            unit="image",
        ) as bar:
            for batch in decoded.batch(batch_size).prefetch(1):
                # Half the memory; the order of neighbours needs no more digits.
                found.append(unit_rows(extract(batch).numpy()).astype(np.float16))
                bar.update(len(batch))
        prompts = [p for s in shards for p in targets.read_prompts(s, "words")]
        return np.concatenate(found), prompts


def _blocks(rows, size=4096):
    for start in range(0, len(rows), size):
        yield rows[start : start + size].astype(np.float32)
