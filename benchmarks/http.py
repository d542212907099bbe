"""`serve` under 16 clients for a minute, against the model's own rate in process.

Each client sends a PNG of 512 pixels and waits for its prompt, again and again. The
rival is the same SavedModel, called in this process with 16 of these files at a time:
decoding, encoder and words without HTTP. Clients and server share the machine's cores.
"""

import concurrent.futures
import contextlib
import functools
import io
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import PIL.Image
import urllib3

from benchmarks import measure, startup
from tf_prompt.serving.saved_model import SavedPromptWriter

CLIENTS, SECONDS, SIDE, NUM_PICTURES = 16, 60, 512, 32
TARGET = 0.8
PACKAGES = ("tensorflow", "fastapi", "uvicorn", "starlette", "h11")


def main(argv=None) -> int:
    """Runs the benchmark."""
    quick = measure.parse_quick("http", __doc__, argv)
    seconds = 5 if quick else SECONDS
    pictures = draw_pictures()
    with tempfile.TemporaryDirectory() as scratch:
        model = startup.export_tiny(pathlib.Path(scratch))
        writer = SavedPromptWriter(model)
        expected = [prompt.decode() for prompt in writer(pictures)["prompt"]]
        own = {size: time_model(writer, pictures, size) for size in (1, CLIENTS)}
        with serve(model) as address:
            ask_all(address, pictures, 2)
            start = time.perf_counter()
            answers = ask_all(address, pictures, seconds)
            rate = len(answers) / (time.perf_counter() - start)
            metrics = urllib3.request("GET", f"{address}/metrics").data.decode()
    return measure.report(sum_up(answers, expected, rate, own, metrics))


def sum_up(answers, expected, rate, own, metrics) -> dict:
    """Puts the figures together."""
    took = sorted(seconds for *_, seconds in answers)
    errors = sum(status != 200 for _, status, *_ in answers)
    parity = all(
        status == 200 and prompt == expected[index]
        for index, status, prompt, _ in answers
    )
    batches = sum_of(metrics, "batch_images", "count")
    return measure.result(
        "http_16_clients",
        [rate * own[CLIENTS] / CLIENTS],
        TARGET,
        parity,
        PACKAGES,
        requests=len(answers),
        errors=errors,
        requests_per_second=round(rate, 1),
        p50_ms=milliseconds(statistics.median(took)),
        p99_ms=milliseconds(took[int(0.99 * len(took))]),
        images_per_batch=round(sum_of(metrics, "batch_images", "sum") / batches, 1),
        batch_ms=milliseconds(sum_of(metrics, "batch_seconds", "sum") / batches),
        model_1_ms=milliseconds(own[1]),
        model_16_ms=milliseconds(own[CLIENTS]),
    )


def milliseconds(seconds: float) -> float:
    """Rounds for the report."""
    return round(1000 * seconds, 1)


def sum_of(metrics: str, name: str, part: str) -> float:
    """Reads a histogram's sum or count from the text of `/metrics`."""
    start = f"tf_prompt_{name}_{part} "
    (line,) = [line for line in metrics.splitlines() if line.startswith(start)]
    return float(line.removeprefix(start))


def draw_pictures() -> list[bytes]:
    """Smooth random pictures, as PNGs."""
    random, pictures = np.random.default_rng(0), []
    for _ in range(NUM_PICTURES):
        small = random.integers(0, 256, (16, 16, 3)).astype(np.uint8)
        image = PIL.Image.fromarray(small).resize((SIDE, SIDE), PIL.Image.BICUBIC)
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        pictures.append(buffer.getvalue())
    return pictures


def time_model(writer, pictures, size: int) -> float:
    """Median seconds of a call of the model, so many images at once."""
    batch = pictures[:size]
    writer(batch)
    return statistics.median(measure.time_of(lambda: writer(batch)) for _ in range(15))


@contextlib.contextmanager
def serve(model: pathlib.Path):
    """Runs the command; gives its address."""
    command = [sys.executable, "-m", "tf_prompt.serve", "--saved-model", str(model)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    with subprocess.Popen(
        [*command, "--port", "0"],
        cwd=startup.ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process.stdout.readline().split()[0]
        finally:
            process.terminate()


def ask_all(address: str, pictures: list[bytes], seconds: float) -> list[tuple]:
    """Lets all clients ask for some time.

    Returns:
        Of each answer the picture's index, the status, the prompt, and the seconds.
    """
    end = time.perf_counter() + seconds
    ask = functools.partial(ask_until, address, pictures, end)
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        found = list(pool.map(ask, range(CLIENTS)))
    return [answer for answers in found for answer in answers]


def ask_until(address, pictures, end, client) -> list[tuple]:
    """One client, with a connection of its own."""
    answers, index = [], client
    with urllib3.PoolManager(maxsize=1, retries=False) as pool:
        while time.perf_counter() < end:
            index = (index + 1) % len(pictures)
            start = time.perf_counter()
            answer = pool.request(
                "POST",
                f"{address}/prompt",
                fields={"file": (f"{index}.png", pictures[index])},
            )
            took = time.perf_counter() - start
            prompt = answer.json()["prompt"] if answer.status == 200 else None
            answers.append((index, answer.status, prompt, took))
    return answers


if __name__ == "__main__":
    sys.exit(main())
