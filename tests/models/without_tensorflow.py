"""Runs a captioner where TensorFlow cannot be imported; see `test_other_backends`."""

import importlib.abc
import importlib.machinery
import sys

import numpy as np


class Refusal(importlib.abc.Loader):
    """Finds TensorFlow, and fails to load it.

    Not None in `sys.modules`, which Keras takes for TensorFlow; nor an error when it
    is looked for, which PyTorch does not expect.
    """

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "tensorflow_text"):
            return importlib.machinery.ModuleSpec(name, self)

    def create_module(self, spec):
        raise ModuleNotFoundError(f"No module named {spec.name!r}", name=spec.name)


def main(preset: str, folder: str) -> None:
    sys.meta_path.insert(0, Refusal())
    from keras import ops

    from tests.models.test_other_backends import SIZES
    from tf_prompt.models import presets

    given = np.load(f"{folder}/given.npz")
    model = presets.build(preset, **SIZES)
    count = len(model.weights)
    model.set_weights([given[f"weight_{index}"] for index in range(count)])
    inputs = {name: given[name] for name in ("images", "token_ids", "target_ids")}
    found = model(inputs)
    state, memory = model.encode(inputs["images"])
    logits, _ = model.step(inputs["token_ids"][:, 0], 0, state, memory)
    model.compile("adam", lambda _, losses: losses[..., 0])
    for _ in range(3):
        loss = model.train_on_batch(inputs, inputs["target_ids"])
    arrays = {"found": found, "logits": logits, "loss": loss}
    arrays = {name: ops.convert_to_numpy(x) for name, x in arrays.items()}
    np.savez(f"{folder}/found.npz", **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
