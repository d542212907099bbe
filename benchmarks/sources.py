"""Reading tars and parquet files, and planning: part of `benchmarks.ingest`.

The rivals of reading are the readers of webdataset and datasets, over the same files,
without decoding. Planning has a budget: 100 microseconds of one core a row.
"""

import io
import os
import pathlib
import random
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator

import numpy as np

from benchmarks import measure
from pipelines import image_hashes, sources
from pipelines.minhash import group_near_duplicates
from pipelines.words import join_words
from tf_prompt.data.text import MAX_WORDS
from tf_prompt.data.toy.grammar import draw_prompts

MICROSECONDS_A_ROW = 100
_SIZE_OF_IMAGE = 40_000
_WORDS = 40_000


def main(argv=None) -> int:
    """Runs this part alone."""
    quick = measure.parse_quick("sources", __doc__, argv)
    with tempfile.TemporaryDirectory() as scratch:
        return measure.report(*run(pathlib.Path(scratch), quick))


def run(scratch: pathlib.Path, quick: bool) -> list[dict]:
    """Gives the results of all parts."""
    return [
        *compare_readers(scratch, 500 if quick else 5000, 3),
        *time_prompts(20_000 if quick else 200_000),
        time_hashes(100_000),
    ]


def compare_readers(scratch: pathlib.Path, num_rows: int, repeats: int) -> list[dict]:
    """Rows a second of tars and parquet files over those of the rivals."""
    try:
        import datasets
        import webdataset
    except ImportError as error:
        print(f"skipping the readers: {error}; pip install webdataset datasets")
        return []
    datasets.disable_progress_bars()
    tar, parquet = write_files(scratch, num_rows)

    def read_tar():
        samples = webdataset.WebDataset(str(tar), shardshuffle=False)
        return ((sample["jpg"], sample["txt"].decode()) for sample in samples)

    def read_parquet():
        rows = datasets.load_dataset(
            "parquet", data_files=str(parquet), split="train", streaming=True
        ).cast_column("image", datasets.Image(decode=False))
        return ((row["image"]["bytes"], row["prompt"]) for row in rows)

    results = []
    for name, path, rival in (
        ("tar", tar, read_tar),
        ("parquet", parquet, read_parquet),
    ):
        library = "webdataset" if name == "tar" else "datasets"
        results.append(
            measure.compare(
                f"ingest_{name}",
                lambda path=path: sum(1 for _ in read_rows(path)),
                lambda rival=rival: sum(1 for _ in rival()),
                repeats,
                num_rows,
                1,
                list(read_rows(path)) == list(rival()),
                (library, "pyarrow"),
            )
        )
    return results


def read_rows(path: pathlib.Path) -> Iterator[tuple[bytes, str]]:
    """Gives image bytes and prompt of each row, our way."""
    for part in sources.open_source(path).parts():
        with part.open_images() as images:
            rows = part.read_rows(images)
            for name, prompt in zip(rows["image_name"], rows["prompt"], strict=True):
                yield images.read(name), prompt


def write_files(scratch: pathlib.Path, num_rows: int):
    """Writes the same rows as a tar and as a parquet file; gives both paths."""
    import pyarrow
    import pyarrow.parquet

    draw = np.random.default_rng(0)
    images = [draw.bytes(_SIZE_OF_IMAGE) for _ in range(num_rows)]
    prompts = [text for _, text in draw_prompts(num_rows, 0)]
    tar, parquet = scratch / "x.tar", scratch / "x.parquet"
    with tarfile.open(tar, "w") as archive:
        for number, (image, prompt) in enumerate(zip(images, prompts, strict=True)):
            for ending, data in (("jpg", image), ("txt", prompt.encode())):
                member = tarfile.TarInfo(f"{number:09d}.{ending}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    structs = [{"bytes": d, "path": f"{n}.jpg"} for n, d in enumerate(images)]
    table = pyarrow.table({"image": structs, "prompt": prompts})
    pyarrow.parquet.write_table(table, parquet, row_group_size=100)
    return tar, parquet


def time_prompts(num_rows: int) -> list[dict]:
    """The budget of the text rule, near-duplicates and families over their time."""
    prompts = make_prompts(num_rows)
    cores, results, words = os.cpu_count() or 1, [], []
    for name, run in (
        ("text_rule", lambda: words.extend(join_words(prompts, 1, MAX_WORDS))),
        ("minhash", lambda: group_near_duplicates(set(words), 0.7, cores)),
        ("families", lambda: group_near_duplicates(set(words), 0.4, cores)),
    ):
        # Of all threads; not how long others let them wait.
        start, wall = time.process_time(), time.perf_counter()
        run()
        spent = (time.process_time() - start) / num_rows * 1e6
        results.append(
            measure.result(
                f"ingest_{name}",
                [MICROSECONDS_A_ROW / spent],
                1,
                len(words) == num_rows,
                ("nltk", "numpy"),
                microseconds_a_row=round(spent, 1),
                seconds=round(time.perf_counter() - wall, 2),
            )
        )
    return results


def make_prompts(num_rows: int) -> list[str]:
    """Makes prompts of rare and common words; every fourth varies an earlier one."""
    draw = random.Random(0)
    vocabulary = [
        f"{draw.choice('bdfkmst')}{word}" for word in map(_spell, range(_WORDS))
    ]
    # As in real prompts: the n-th word is n times as rare as the first.
    weights = np.cumsum(1 / np.arange(1, _WORDS + 1))
    prompts: list[str] = []
    for row in range(num_rows):
        words = draw.choices(vocabulary, cum_weights=weights.tolist(), k=20)
        if row % 4 == 3:
            words = prompts[draw.randrange(row)].split(" ")
            words[draw.randrange(20)] = draw.choice(vocabulary)
        else:
            words = [w + draw.choice(["", "", "", ",", ".", ")"]) for w in words]
        prompts.append(" ".join(words))
    return prompts


def _spell(number: int) -> str:
    syllables = "a e i o u an el in or um".split()
    return "".join(
        syllables[int(digit)] + "lnrst"[int(digit) % 5] for digit in str(number)
    )


def time_hashes(num_rows: int) -> dict:
    """Seconds allowed for joining 100,000 perceptual hashes over those it takes."""
    draw = np.random.default_rng(0)
    hashes = draw.integers(0, 2**63, num_rows, np.uint64)
    # A tenth look like another one: three bits differ.
    copied = draw.integers(num_rows // 10, num_rows, num_rows // 10)
    hashes[: len(copied)] = hashes[copied] ^ np.uint64(0b10010001)
    labels: list[np.ndarray] = []
    seconds = measure.time_of(
        lambda: labels.append(image_hashes.group_hashes(hashes, 4))
    )
    whole = seconds * 100_000 / num_rows
    sound = bool((labels[0][: len(copied)] == labels[0][copied]).all())
    return measure.result(
        "ingest_image_hashes",
        [10 / whole],
        1,
        sound,
        ("numpy",),
        seconds_per_100_000_rows=round(whole, 2),
    )


if __name__ == "__main__":
    sys.exit(main())
