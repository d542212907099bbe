"""Whether each stage costs a straight line: docs/explanations/scale.md builds on it.

Conversion, features of ResNet50, and an epoch on them are timed at three numbers of
images. A line through the two smaller ones predicts the largest; the ratio is the
predicted seconds over the measured ones.
"""

import os
import pathlib
import shutil
import sys
import tempfile

from benchmarks import measure, threads

threads.pin()
import keras  # noqa: E402

from benchmarks.ingest import write_toy  # noqa: E402
from pipelines import write_records  # noqa: E402
from tf_prompt.runs.config import FitConfig  # noqa: E402
from tf_prompt.training import recipes  # noqa: E402
from tf_prompt.training.tasks.captioning import CaptioningTask  # noqa: E402

BATCH, PARTS = 8, 4
PACKAGES = ("tensorflow", "keras")
STAGES = ("conversion", "features", "epoch")


def main(argv=None) -> int:
    """Runs the benchmark."""
    quick = measure.parse_quick("scale", __doc__, argv)
    smallest = 32 if quick else 160
    seconds: dict[str, list[float]] = {stage: [] for stage in STAGES}
    counts = []
    with tempfile.TemporaryDirectory() as scratch:
        # The first pays for what is loaded once, and is not counted.
        for factor in (1, 1, 2, 4):
            folder = pathlib.Path(scratch) / "size"
            counts.append(time_stages(folder, smallest * factor, seconds))
            shutil.rmtree(folder)
    return measure.report(
        *(check_line(stage, counts[1:], seconds[stage][1:]) for stage in STAGES)
    )


def time_stages(folder: pathlib.Path, num_images: int, seconds) -> dict:
    """Times each stage of a training on so many images; gives what each handled."""
    raw, shards, run_dir = folder / "raw", folder / "shards", folder / "run"
    write_toy(raw, PARTS, num_images // PARTS)
    run_dir.mkdir()
    argv = ["--source", str(raw), "--output", str(shards), "--processes", "1"]
    note(seconds, "conversion", lambda: write_records.main(argv))
    keras.utils.set_random_seed(0)
    config = FitConfig(
        preset="lstm_base",
        data=str(shards),
        batch_size=BATCH,
        flip=False,
        backbone_weights="random",
        cache_features=True,
    )
    task = CaptioningTask(recipes.complete(config), run_dir, shards)
    model = task.build_model()
    steps = task.steps_per_epoch
    task.compile_model(model)
    found = []
    note(
        seconds,
        "features",
        lambda: found.append(task.training_batches(model, range(2))),
    )
    # Tracing the step is no cost of the images.
    model.fit(found[0], steps_per_epoch=1, verbose=0, shuffle=False)
    note(
        seconds,
        "epoch",
        lambda: model.fit(found[0], steps_per_epoch=steps, verbose=0, shuffle=False),
    )
    return {
        "conversion": num_images,
        "features": task.num_examples,
        "epoch": steps * BATCH,
    }


def note(seconds, stage: str, run) -> None:
    """Times a stage."""
    seconds[stage].append(measure.time_of(run))


def check_line(stage: str, counts, seconds) -> dict:
    """Predicts the third time from the first two."""
    sizes = [count[stage] for count in counts]
    slope = (seconds[1] - seconds[0]) / (sizes[1] - sizes[0])
    predicted = seconds[1] + slope * (sizes[2] - sizes[1])
    return measure.result(
        f"scale_{stage}",
        [predicted / seconds[2]],
        1,
        sizes[0] < sizes[1] < sizes[2],
        PACKAGES,
        images=sizes,
        seconds=[round(value, 2) for value in seconds],
        milliseconds_per_image=round(
            1000 * (seconds[2] - seconds[0]) / (sizes[2] - sizes[0]), 2
        ),
        load=round(os.getloadavg()[0], 1),
    )


if __name__ == "__main__":
    sys.exit(main())
