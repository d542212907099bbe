"""A model server under 16 clients, against its signature in process plus transport.

Clients ask without pause, each for 1 to 16 images at a time. What a call may take is
the sum of two medians under the same load: of the exported signature, called by 16
threads of this process, and of a model that does nothing, asked for through the same
server with the same images. The server is that of the tests, in Python, so that its
transport costs more than TF Serving's.
"""

import concurrent.futures
import contextlib
import functools
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# As the commands set it, see `tf_prompt.options.command`.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

from tf_prompt.options import import_tensorflow  # noqa: E402

import_tensorflow()
import keras  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks import measure  # noqa: E402
from tests.serving.stub import export_stub  # noqa: E402
from tf_prompt.data import images  # noqa: E402
from tf_prompt.data.text import SPECIAL_TOKENS  # noqa: E402
from tf_prompt.data.vocabulary import WordVocabulary  # noqa: E402
from tf_prompt.decoding.config import DecodingConfig  # noqa: E402
from tf_prompt.inference.captioner import CaptionerModel  # noqa: E402
from tf_prompt.models import presets  # noqa: E402
from tf_prompt.serving import versions, warmup  # noqa: E402
from tf_prompt.serving.client import writer  # noqa: E402
from tf_prompt.serving.client.options import ServerConfig  # noqa: E402
from tf_prompt.serving.saved_model import SavedPromptWriter  # noqa: E402

CLIENTS, LARGEST_BATCH, NUM_PICTURES, SIDE = 16, 16, 32, 224
PRESET, ECHO = "transformer_tiny", "echo"
# Ours is at most 1.15 times as slow; the first request 2 times.
TARGET, FIRST_TARGET = 1 / 1.15, 1 / 2
PACKAGES = ("tensorflow", "keras", "grpcio", "tensorflow-serving-api")


def main(argv=None) -> int:
    """Runs the benchmark."""
    quick = measure.parse_quick("serving", __doc__, argv)
    rounds, seconds = (2, 5.0) if quick else (4, 15.0)
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        export_models(folder)
        return measure.report(*run(folder, rounds, seconds))


def export_models(folder: pathlib.Path) -> None:
    """Writes a captioner with random weights and a model that does nothing."""
    keras.utils.set_random_seed(0)
    captioner = presets.build(PRESET)
    words = [f"word{i}" for i in range(captioner.vocab_size - len(SPECIAL_TOKENS))]
    written = CaptionerModel(captioner, WordVocabulary([*SPECIAL_TOKENS, *words]))
    steps = [functools.partial(warmup.write_requests, model_name=PRESET)]
    versions.export(written, folder / PRESET, last_steps=steps)
    export_stub(folder / ECHO / "1", "echo")


@contextlib.contextmanager
def serve(folder: pathlib.Path):
    """Runs the server in a process of its own; gives the address of its gRPC."""
    command = [sys.executable, "-m", "tests.serving.model_server"]
    command += ["--saved-models", str(folder), "--port", "0", "--rest-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stdout:
                if line.startswith("gRPC: "):
                    break
            yield line.split()[1]
        finally:
            process.terminate()


def run(folder: pathlib.Path, rounds: int, seconds: float) -> list[dict]:
    """Measures under load in turns, a few seconds each.

    Args:
        folder: of `export_models`.
        rounds: how often all three sides are measured.
        seconds: that the served model is under load in each.

    Returns:
        Results of the load and of the first request.
    """
    pictures = draw_pictures()
    alone = SavedPromptWriter(folder / PRESET / "1")
    for size in range(1, LARGEST_BATCH + 1):
        alone(pictures[:size])
    with serve(folder) as address:
        first = measure_first(address, pictures)
        served = connect(address, PRESET)
        parity = all(is_same(alone, served, pictures[:n]) for n in (1, 7, 16))
        found, ratios = [], []
        for _ in range(rounds):
            own = put_under_load(lambda: alone, pictures, seconds / 2)
            echo = put_under_load(lambda: connect(address, ECHO), pictures, seconds / 6)
            calls = put_under_load(lambda: connect(address, PRESET), pictures, seconds)
            allowed = statistics.median(own) + statistics.median(echo)
            ratios.append(allowed / statistics.median(calls))
            found.append((own, echo, calls))
    names = ("in_process_ms", "transport_ms", "served_ms")
    sides = [sum(side, []) for side in zip(*found, strict=True)]
    times = {n: percentiles(side) for n, side in zip(names, sides, strict=True)}
    print(times, file=sys.stderr, flush=True)
    load = measure.result(
        "serving_load", ratios, TARGET, parity, PACKAGES, calls=len(sides[2]), **times
    )
    return [load, first]


def draw_pictures() -> list[bytes]:
    """JPEG files of smooth noise."""
    noise = np.random.default_rng(0).integers(0, 256, (NUM_PICTURES, 28, 28, 3))
    repeat = SIDE // 28
    large = noise.astype(np.uint8).repeat(repeat, axis=1).repeat(repeat, axis=2)
    return [images.encode_jpeg(picture) for picture in large]


def connect(address: str, model: str):
    """A client of its own, which tries each call once."""
    config = ServerConfig(server=address, model=model, retries=0)
    return writer.connect(config, DecodingConfig())


def is_same(alone, served, pictures) -> bool:
    """Whether the server gives the prompts of the signature."""
    return list(alone(pictures)["prompt"]) == list(served(pictures)["prompt"])


def measure_first(address: str, pictures) -> dict:
    """Time of a new client's first request to a new server, and of those after it."""
    client = connect(address, PRESET)
    first = measure.time_of(lambda: client(pictures[:1]))
    later = [measure.time_of(lambda: client(pictures[:1])) for _ in range(30)]
    steady = statistics.median(later)
    return measure.result(
        "serving_first_request",
        [steady / first],
        FIRST_TARGET,
        True,
        PACKAGES,
        first_ms=round(1000 * first, 2),
        steady_ms=round(1000 * steady, 2),
    )


def put_under_load(build_client, pictures, seconds: float) -> list[float]:
    """Lets `CLIENTS` threads ask without pause; an error ends the benchmark.

    Args:
        build_client: makes a function of encoded images, one a thread.
        pictures: what to choose from.
        seconds: for how long calls begin.

    Returns:
        Seconds of each call.
    """
    still_timed = set(range(CLIENTS))

    def ask(seed):
        try:
            return ask_until_all_are_timed(seed)
        finally:
            # After an error too, or the others would wait for it.
            still_timed.discard(seed)

    def ask_until_all_are_timed(seed):
        draw, client, times = random.Random(seed), build_client(), []
        # On until the last timed call of all is over: none is eased by those who left.
        while still_timed:
            if time.perf_counter() >= end:
                still_timed.discard(seed)
            size = draw.randint(1, LARGEST_BATCH)
            batch = draw.sample(pictures, size)
            start = time.perf_counter()
            written = client(batch)
            if seed in still_timed:
                times.append(time.perf_counter() - start)
            if len(written["prompt"]) != size or np.isnan(written["score"]).any():
                raise ValueError(f"a prompt an image must come. Received: {written}")
        return times

    end = time.perf_counter() + seconds
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        return [t for times in pool.map(ask, range(CLIENTS)) for t in times]


def percentiles(times: list[float]) -> dict[str, float]:
    """Milliseconds that 50, 90, 95 and 99 of 100 calls take at most."""
    found = np.percentile(times, [50, 90, 95, 99]) * 1000
    names = ("p50", "p90", "p95", "p99")
    return {n: round(float(t), 2) for n, t in zip(names, found, strict=True)}


if __name__ == "__main__":
    sys.exit(main())
