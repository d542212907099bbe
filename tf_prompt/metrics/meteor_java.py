"""METEOR by its authors' Java program, from the package pycocoevalcap."""

import importlib.metadata
import importlib.util
import pathlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence

import numpy as np
import tqdm

from tf_prompt.metrics.pairs import check_pairs

PACKAGE = "pycocoevalcap"
LANGUAGE = "en"
# The program's default parameters for English.
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
# Weights of exact matches, stems, synonyms and paraphrases.
WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])
# Columns of the program's statistics; `_STAGES` are 16 counts of matches.
_LENGTHS, _FUNCTION_WORDS, _STAGES = slice(0, 2), slice(2, 4), slice(4, 20)
_CHUNKS, _MATCHED_WORDS, _NUM_COLUMNS = 20, slice(21, 23), 23


class JavaMeteor:
    """The Java program, started on first use; a context manager that ends it.

    Loading its paraphrases takes seconds and 1 GB: use one instance for several sets
    of predictions. The package's own class `Meteor` is not used, because it never
    reads the program's stderr, whose full pipe would block both; gets out of step
    after a prompt with a line break; and fails in its destructor without Java.

    Attributes:
        signature: str, everything that the scores depend on.

    Raises:
        ValueError: if Java or the package is missing; says what to install.
    """

    def __init__(self):
        self._jar = _find_jar()
        self._java, java_version = _find_java()
        self._process = self._errors = None
        self.signature = (
            f"{PACKAGE}:{importlib.metadata.version(PACKAGE)}|{self._jar.name}"
            f"|java:{java_version}|l:{LANGUAGE}|task:rank|alpha:{ALPHA}|beta:{BETA}"
            f"|gamma:{GAMMA}|delta:{DELTA}|tok:norm|score:of summed statistics"
        )

    def count_matches(
        self, references: Sequence[str], predictions: Sequence[str]
    ) -> np.ndarray:
        """Counts the sufficient statistics of METEOR for each pair.

        Args:
            references: true prompts.
            predictions: predicted prompts, in the order of `references`.

        Returns:
            float64 `(examples, 23)`: numbers of words in prediction and reference; of
            function words in each; for each kind of match, of content words in
            prediction and reference, and of function words in each; of chunks; of
            matched words in each. As in the program's own sums, pairs that match
            completely in one chunk have 0 chunks: nothing is out of order.

        Raises:
            ChildProcessError: if the program ends early, with its last message.
            ValueError: if there is not one prediction per reference.
        """
        check_pairs(references, predictions)
        pairs = zip(references, predictions, strict=True)
        bar = tqdm.tqdm(
            pairs, "METEOR in Java", len(references), unit="pair", delay=2, leave=False
        )
        counts = np.array([self._ask(*pair) for pair in bar], np.float64)
        words, stages = counts[:, _LENGTHS], _matches_of(counts).sum(axis=(1, 2))
        whole = (words == stages).all(axis=1) & (counts[:, _CHUNKS] == 1)
        counts[whole, _CHUNKS] = 0
        return counts

    def _ask(self, reference: str, prediction: str) -> list[float]:
        if self._process is None:
            self._start()
        line = f"SCORE ||| {_as_field(reference)} ||| {_as_field(prediction)}\n"
        # One pair at a time, so that neither pipe ever holds more than a line.
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
            answer = self._process.stdout.readline().split()
        except BrokenPipeError:
            answer = []
        if len(answer) != _NUM_COLUMNS:
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace").split("\n")
            last = next((text for text in said if text.strip()), "nothing")
            raise ChildProcessError(
                f"METEOR's Java program must answer each pair. Received: {last}"
            )
        return [float(value) for value in answer]

    def _start(self) -> None:
        # A file, not a pipe, because nobody reads it while the program runs.
        self._errors = tempfile.TemporaryFile()
        options = ["-", "-", "-stdio", "-l", LANGUAGE, "-norm"]
        self._process = subprocess.Popen(
            [self._java, "-Xmx2G", "-jar", str(self._jar), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            encoding="utf-8",
            errors="replace",
        )

    def close(self) -> None:
        """Ends the program if it runs; scoring again restarts it."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for file in (self._process.stdin, self._process.stdout, self._errors):
            try:
                file.close()
            except BrokenPipeError:
                # The rest of an interrupted call, which nobody reads any more.
                continue
        self._process = self._errors = None

    def __enter__(self) -> "JavaMeteor":
        return self

    def __exit__(self, *details) -> None:
        self.close()


def score_sums(sums: np.ndarray) -> np.ndarray:
    """Computes METEOR from summed counts, as the program scores a whole set.

    It is not the mean of the pairs' scores: words of long prompts count as much as
    words of short ones.

    Args:
        sums: `(..., 23)`, rows of `JavaMeteor.count_matches` or sums of them.

    Returns:
        float64 `(...)` in 0–100; 0 if nothing matches.

    Reference: Denkowski and Lavie, 2014, https://aclanthology.org/W14-3348,
    section 2 and table 1.
    """
    sums = np.asarray(sums, np.float64)
    function_words = sums[..., _FUNCTION_WORDS]
    content_words = sums[..., _LENGTHS] - function_words
    lengths = DELTA * content_words + (1 - DELTA) * function_words
    # (..., content or function, prediction or reference).
    matches = np.einsum("...smw,s->...mw", _matches_of(sums), WEIGHTS)
    matched = DELTA * matches[..., 0, :] + (1 - DELTA) * matches[..., 1, :]
    shares = matched / np.where(lengths > 0, lengths, 1)
    precision, recall = shares[..., 0], shares[..., 1]
    total = ALPHA * precision + (1 - ALPHA) * recall
    mean = precision * recall / np.where(total > 0, total, 1)
    matched_words = sums[..., _MATCHED_WORDS].mean(axis=-1)
    fragments = sums[..., _CHUNKS] / np.where(matched_words > 0, matched_words, 1)
    return 100 * mean * (1 - GAMMA * fragments**BETA)


def _matches_of(counts):
    shape = (*counts.shape[:-1], len(WEIGHTS), 2, 2)
    return counts[..., _STAGES].reshape(shape)


def _as_field(prompt: str) -> str:
    # The program splits a line at bars, and answers once per line.
    return " ".join(prompt.replace("|||", " ").split())


def _find_jar() -> pathlib.Path:
    # Without importing the package, which would load pycocotools.
    spec = importlib.util.find_spec(PACKAGE)
    for place in (spec and spec.submodule_search_locations) or []:
        for jar in sorted(pathlib.Path(place, "meteor").glob("meteor-*.jar")):
            return jar
    raise ValueError(
        f"METEOR in Java must have the package {PACKAGE}. Received: no such package. "
        'Install it with: pip install "tf_prompt[eval]"'
    )


def _find_java() -> tuple[str, str]:
    java = shutil.which("java")
    said = ""
    if java:
        # Run it, because macOS has a `java` even without Java.
        run = subprocess.run([java, "-version"], capture_output=True, text=True)
        said = run.stderr if run.returncode == 0 else ""
    version = re.search(r'version "([^"]+)"', said)
    if java is None or version is None:
        raise ValueError(
            "METEOR in Java must have a Java runtime. Received: no working `java` on "
            "PATH. Install one, on Debian with: apt-get install default-jre-headless"
        )
    return java, version[1]
