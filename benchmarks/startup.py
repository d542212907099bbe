"""From the shell to help, and from the shell to the prompt of one picture.

The rival of `predict --saved-model` is a bare script that imports TensorFlow, loads
the same model and calls it. `--help` of a command must take less than 0.3 seconds.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks import measure, threads

threads.pin()

from tf_prompt.data import images  # noqa: E402
from tf_prompt.data.text import SPECIAL_TOKENS  # noqa: E402
from tf_prompt.data.vocabulary import WordVocabulary  # noqa: E402
from tf_prompt.inference.captioner import CaptionerModel  # noqa: E402
from tf_prompt.models import presets  # noqa: E402
from tf_prompt.serving import versions  # noqa: E402
from tf_prompt.serving.signatures import Servable  # noqa: E402

ROOT = pathlib.Path(__file__).parents[1]
HELP_SECONDS, TARGET = 0.3, 0.9
PACKAGES = ("tensorflow", "keras")
_COMMAND = re.compile(r"^@(config\.)?command$", re.MULTILINE)
BARE = """
import sys, time
marks = [time.perf_counter()]
import tensorflow as tf
marks.append(time.perf_counter())
loaded = tf.saved_model.load(sys.argv[1])
marks.append(time.perf_counter())
data = open(sys.argv[2], "rb").read()
written = loaded.signatures["serving_default"](image_bytes=tf.constant([data]))
print(sys.argv[2] + "\\t" + written["prompt"].numpy()[0].decode())
marks.append(time.perf_counter())
names = ("import_tensorflow", "load", "first_call")
print({n: round(b - a, 2) for n, a, b in zip(names, marks, marks[1:])}, file=sys.stderr)
"""


def main(argv=None) -> int:
    """Runs the benchmark."""
    quick = measure.parse_quick("startup", __doc__, argv)
    repeats = 2 if quick else 7
    helps = [compare_help(verb, repeats) for verb in list_verbs()]
    with tempfile.TemporaryDirectory() as scratch:
        return measure.report(*helps, compare_predict(pathlib.Path(scratch), repeats))


def list_verbs() -> list[str]:
    """Modules of both packages that are commands."""
    files = [
        p for name in ("tf_prompt", "pipelines") for p in (ROOT / name).glob("*.py")
    ]
    verbs = [p for p in files if _COMMAND.search(p.read_text(encoding="utf-8"))]
    packages = [p.parent for p in (ROOT / "tf_prompt").glob("*/__main__.py")]
    return sorted(f"{path.parent.name}.{path.stem}" for path in verbs + packages)


def compare_help(verb: str, repeats: int) -> dict:
    """The limit over the seconds that `--help` takes: above 1 is below the limit."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        text = run(["-m", verb, "--help"])
        seconds.append(time.perf_counter() - start)
    ratios = [HELP_SECONDS / s for s in seconds[1:]]
    parity = text.startswith("usage: ")
    return measure.result(f"help_{verb}", ratios, 1, parity, ("tensorflow",))


def compare_predict(scratch: pathlib.Path, repeats: int) -> dict:
    """Our command against the bare script, one picture."""
    model, picture = export_tiny(scratch), scratch / "picture.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.uint8)
    picture.write_bytes(images.encode_jpeg(noise))
    ours = ["-m", "tf_prompt.predict", "--saved-model", model, picture]
    rival = ["-c", BARE, model, picture]
    return measure.compare(
        "predict_one_picture",
        lambda: run(ours),
        lambda: run(rival),
        repeats,
        1,
        TARGET,
        run(ours) == run(rival),
        PACKAGES,
    )


def export_tiny(scratch: pathlib.Path) -> pathlib.Path:
    """A SavedModel of `transformer_tiny` with random weights."""
    captioner = presets.build("transformer_tiny")
    count = captioner.vocab_size - len(SPECIAL_TOKENS)
    vocabulary = [*SPECIAL_TOKENS, *(f"word{i}" for i in range(count))]
    servable = Servable(CaptionerModel(captioner, WordVocabulary(vocabulary)))
    return versions.export(servable, scratch / "transformer_tiny")


def run(arguments) -> str:
    """Standard output of a Python process; it must end well."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ).stdout


if __name__ == "__main__":
    sys.exit(main())
