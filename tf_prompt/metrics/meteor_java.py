"""METEOR as its authors' Java program computes it, from the package pycocoevalcap."""

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
# What the program takes for English when told no others.
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
# Of exact matches, stems, synonyms and paraphrases.
WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])
# Columns of the program's statistics; 16 counts of matches lie between.
_LENGTHS, _FUNCTION_WORDS, _STAGES = slice(0, 2), slice(2, 4), slice(4, 20)
_CHUNKS, _MATCHED_WORDS, _NUM_COLUMNS = 20, slice(21, 23), 23


class JavaMeteor:
    """The Java program, started when first needed; a context manager that ends it.

    It takes seconds and 1 GB to load its paraphrases: use one for several sets of
    predictions. The package's own class `Meteor` is not used. It never reads the
    program's stderr, whose full pipe would stop both; a prompt with a line break
    puts it out of step with the program; and without Java its destructor fails.

    Attributes:
        signature: str, names what the numbers depend on.

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
        """Counts, for each pair, all that METEOR needs to know.

        Args:
            references: true prompts.
            predictions: written prompts, in the order of `references`.

        Returns:
            float64 `(examples, 23)`: words of prediction and reference, function
            words of either; for each kind of match its content words in the
            prediction and in the reference, then its function words in either;
            chunks, matched words of either. As in the program's own sums, a pair
            matched whole in one chunk has 0 chunks: nothing is out of order.

        Raises:
            ChildProcessError: if the program ends early, with its last words.
            ValueError: if there is not one prediction for each reference.
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
        # One question, one answer: neither pipe ever holds more than a line.
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
        # A file, not a pipe: nobody reads it while the program runs.
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
        """Ends the program, if it runs; scoring again starts it anew."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for file in (self._process.stdin, self._process.stdout, self._errors):
            try:
                file.close()
            except BrokenPipeError:
                # What an interrupted call left unsent has nobody to go to.
                continue
        self._process = self._errors = None

    def __enter__(self) -> "JavaMeteor":
        return self

    def __exit__(self, *details) -> None:
        self.close()


def score_sums(sums: np.ndarray) -> np.ndarray:
    """Turns summed counts into METEOR, the program's score of a whole set.

    It is not the mean of the pairs' scores: words of long prompts count as much
    as words of short ones.

    Args:
        sums: `(..., 23)`, rows of `JavaMeteor.count_matches`, or such rows added up.

    Returns:
        float64 `(...)` in 0–100; 0 where nothing matches.

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
    # The program splits lines at bars, and answers each line once.
    return " ".join(prompt.replace("|||", " ").split())


def _find_jar() -> pathlib.Path:
    # Located without an import, which would load pycocotools.
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
        # Asked, not only found: macOS has a `java` that is there without Java.
        run = subprocess.run([java, "-version"], capture_output=True, text=True)
        said = run.stderr if run.returncode == 0 else ""
    version = re.search(r'version "([^"]+)"', said)
    if java is None or version is None:
        raise ValueError(
            "METEOR in Java must have a Java runtime. Received: no working `java` on "
            "PATH. Install one, on Debian with: apt-get install default-jre-headless"
        )
    return java, version[1]
