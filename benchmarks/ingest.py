"""Ingestion: what it costs above decoding, what it holds in memory, how it plans.

The rival of speed is the same machine doing nothing but read, decode and resize:
its rate in one process and one thread, times the cores.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import pandas as pd

from benchmarks import measure, sources
from tf_prompt.options import import_tensorflow

import_tensorflow()
import tensorflow as tf  # noqa: E402

from pipelines.convert import stats_path  # noqa: E402
from pipelines.folder import prepare_folder  # noqa: E402
from pipelines.layouts.diffusiondb import DiffusionDBSource  # noqa: E402
from pipelines.options import Conversion, WriteOptions  # noqa: E402
from pipelines.sources import open_source  # noqa: E402
from pipelines.workers import convert_parts  # noqa: E402
from tf_prompt.data import images, records  # noqa: E402
from tf_prompt.data.split import SPLITS  # noqa: E402
from tf_prompt.data.toy import diffusiondb  # noqa: E402

SIDE = 512
PACKAGES = ("tensorflow", "pillow", "pandas", "pyarrow")
ROWS_OF_2M, SECONDS_TO_PLAN = 2_000_000, 60


def main(argv=None) -> int:
    """Runs the benchmark."""
    quick = measure.parse_quick("ingest", __doc__, argv)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        return measure.report(
            compare_speed(scratch, *((80, 1) if quick else (100, 5))),
            compare_memory(scratch, 30 if quick else 100),
            time_planning(scratch, 100_000 if quick else ROWS_OF_2M),
            *sources.run(scratch, quick),
        )


def compare_speed(scratch: pathlib.Path, images_per_part: int, repeats: int) -> dict:
    """Images a second of `write_records` over cores times decoding alone."""
    cores = os.cpu_count()
    source, output = scratch / "toy", scratch / "shards"
    write_toy(source, 8 * cores, images_per_part)
    files = read_files(source, images_per_part)
    decode = tf.function(
        lambda data: images.decode_image(data, images.IMAGE_SIZE),
        input_signature=[tf.TensorSpec((), tf.string)],
    )
    with_one_thread()

    def decode_alone() -> float:
        seconds = measure.time_of(lambda: [decode(data) for data in files.values()])
        return cores * len(files) / seconds

    ratios = measure.compare_rates(
        lambda: rate_of_ingestion(source, output, cores), decode_alone, repeats
    )
    return measure.result(
        "ingest_speed", ratios, 0.9, same_pictures(output, files, decode), PACKAGES
    )


def with_one_thread() -> None:
    """Holds decoding alone to the one core that its rate is multiplied from."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def write_toy(folder: pathlib.Path, parts: int, images_per_part: int) -> None:
    """Writes a toy set in DiffusionDB's layout, its images of DiffusionDB's size."""
    diffusiondb.main(
        ["--output", str(folder), "--parts", str(parts), "--image-size", str(SIDE)]
        + ["--images-per-part", str(images_per_part)]
    )


def rate_of_ingestion(source, output, cores: int) -> float:
    """Records a second while all cores work: from the first part of each to the end.

    Starting Python and TensorFlow is not what is asked.
    """
    shutil.rmtree(output, ignore_errors=True)
    opened = open_source(source)
    config = WriteOptions(source=str(source), output=str(output))
    prepare_folder(opened, config, prog="ingest")
    stats = convert_parts(opened, output, Conversion(), cores)
    done = sorted(
        (stats_path(output, index).stat().st_mtime, part["examples"])
        for index, part in enumerate(stats)
    )
    kept = sum(sum(examples.values()) for _, examples in done[cores:])
    return kept / (done[-1][0] - done[cores - 1][0])


def read_files(source: pathlib.Path, least: int) -> dict[str, bytes]:
    """Reads the encoded images of a source's first parts, at least so many."""
    files = {}
    for part in open_source(source).parts():
        if len(files) >= least:
            break
        with part.open_images() as images_in:
            files |= {name: images_in.read(name) for name in images_in.names}
    return files


def same_pictures(shards: pathlib.Path, files, decode) -> bool:
    """Whether the shards hold what decoding alone gives, encoded as JPEG."""
    paths = [str(p) for s in SPLITS for p in sorted(shards.glob(f"{s}-*.tfrecord"))]
    compared = 0
    for record in tf.data.TFRecordDataset(paths).map(records.parse):
        data = files.get(record["image_id"].numpy().decode())
        if data is not None:
            compared += 1
            if images.encode_jpeg(decode(data)) != record["image"].numpy():
                return False
    return compared > 0


def compare_memory(scratch: pathlib.Path, images_per_part: int) -> dict:
    """Peak memory at 2 parts over that at 20: 1 where memory is bounded."""
    peaks, kept = [], []
    for parts in (2, 20):
        source, output = scratch / f"parts{parts}", scratch / f"of{parts}"
        write_toy(source, parts, images_per_part)
        argv = ["--source", source, "--output", output, "--processes", "1"]
        script = (
            "import resource, sys; from pipelines.write_records import main; "
            "code = main(sys.argv[1:]); "
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(code)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, *map(str, argv)],
            check=True,
            capture_output=True,
            text=True,
        )
        peaks.append(int(done.stdout.split()[-1]))
        kept.append(len(list(output.glob("part-*.json"))))
    return measure.result(
        "ingest_memory", [peaks[0] / peaks[1]], 0.9, kept == [2, 20], PACKAGES
    )


def time_planning(scratch: pathlib.Path, num_rows: int) -> dict:
    """Seconds allowed for planning two million rows over those it takes."""
    archives = {}
    for part_id in range(1, num_rows // 1000 + 1):
        archives[part_id] = scratch / f"part-{part_id:06d}.zip"
        archives[part_id].touch()
    generator = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "image_name": [f"{n:036d}.png" for n in range(num_rows)],
            "prompt": [
                f"a painting number {number} " * 4 for number in range(num_rows)
            ],
            "part_id": np.repeat(np.array(list(archives), "uint16"), 1000),
            "step": generator.integers(10, 150, num_rows, "uint16"),
            "cfg": generator.uniform(1, 30, num_rows).astype("float32"),
            "width": np.full(num_rows, 512, "uint16"),
            "height": np.full(num_rows, 512, "uint16"),
            "image_nsfw": generator.uniform(0, 1, num_rows).astype("float32"),
        }
    )
    rows.to_parquet(scratch / "metadata.parquet")
    source = DiffusionDBSource(
        "diffusiondb_2m", scratch, archives, scratch / "metadata.parquet"
    )
    planned = []
    seconds = measure.time_of(
        lambda: planned.extend(len(part.rows) for part in source.parts())
    )
    whole = seconds * ROWS_OF_2M / num_rows
    return measure.result(
        "ingest_planning",
        [SECONDS_TO_PLAN / whole],
        1,
        sum(planned) == num_rows,
        PACKAGES,
        seconds_per_100_000_rows=round(seconds * 100_000 / num_rows, 3),
    )


if __name__ == "__main__":
    sys.exit(main())
