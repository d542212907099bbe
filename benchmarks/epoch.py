"""An epoch on cached features against one that runs ResNet50 on every picture.

The toy set at 224 pixels, its own vocabulary, ResNet50 with random weights. Both
sides are `fit` of the same model with the same batches in the same order.
"""

import os
import pathlib
import sys
import tempfile

import numpy as np

from benchmarks import measure

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# As `tf_prompt.options.command` does for every verb.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

from tf_prompt.options import import_tensorflow  # noqa: E402
from tf_prompt.runs.config import FitConfig  # noqa: E402

import_tensorflow()
import keras  # noqa: E402

from benchmarks.ingest import write_toy  # noqa: E402
from pipelines import write_records  # noqa: E402
from tf_prompt.training import recipes  # noqa: E402
from tf_prompt.training.tasks.captioning import CaptioningTask  # noqa: E402

BATCH = 32
TINY = ("encoder='resnet50'", "image_size=224", "conv_filters=()")
CASES = {"lstm_tiny": TINY, "lstm_base": (), "transformer_base": ()}
PACKAGES = ("tensorflow", "keras")


def main(argv=None) -> int:
    """Runs the benchmark."""
    quick = measure.parse_quick("epoch", __doc__, argv)
    num_images, repeats = (160, 1) if quick else (320, 3)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        raw, shards = scratch / "raw", scratch / "shards"
        write_toy(raw, 4, num_images // 4)
        write_records.main(["--source", str(raw), "--output", str(shards)])
        return measure.report(
            *(
                compare(preset, pairs, scratch / preset, shards, repeats)
                for preset, pairs in CASES.items()
            )
        )


def compare(preset, pairs, run_dir, shards, repeats: int) -> dict:
    """Epochs a second of one preset, features against pictures."""
    run_dir.mkdir()
    epochs = {}
    seconds: dict[str, list[float]] = {"ours": [], "rival": []}
    losses: dict[str, float] = {}
    for name, cached in (("ours", True), ("rival", False)):
        config = FitConfig(
            preset=preset,
            data=str(shards),
            batch_size=BATCH,
            flip=False,
            backbone_weights="random",
            cache_features=cached,
            set=(*pairs, "dropout_rate=0"),
        )
        epochs[name] = prepare(config, run_dir, shards, losses, name)

    def rate(name):
        seconds[name].append(measure.time_of(epochs[name]))
        return 1 / seconds[name][-1]

    ratios = measure.compare_rates(lambda: rate("ours"), lambda: rate("rival"), repeats)
    return measure.result(
        f"epoch_{preset}",
        ratios,
        10,
        abs(losses["ours"] - losses["rival"]) < 2e-3 * losses["rival"],
        PACKAGES,
        seconds={k: round(float(np.median(v[1:])), 2) for k, v in seconds.items()},
        load=round(os.getloadavg()[0], 1),
    )


def prepare(config, run_dir, shards, losses, name):
    """Builds a model and fills the cache; gives the function that runs an epoch.

    The loss of the first epoch goes into `losses`.
    """
    keras.utils.set_random_seed(0)
    task = CaptioningTask(recipes.complete(config), run_dir, shards)
    model = task.build_model()
    steps = task.steps_per_epoch
    task.compile_model(model)
    batches = task.training_batches(model, range(1))

    def epoch():
        history = model.fit(batches, steps_per_epoch=steps, verbose=0, shuffle=False)
        losses.setdefault(name, history.history["loss"][0])

    return epoch


if __name__ == "__main__":
    sys.exit(main())
