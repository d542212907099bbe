import subprocess
import sys

import numpy as np
import pytest

from tests.metrics.prompts import PREDICTIONS, REFERENCES
from tf_prompt.metrics import meteor_java, score


@pytest.fixture(scope="module")
def program():
    """The Java program, one for all tests: it takes seconds to load."""
    try:
        java_meteor = meteor_java.JavaMeteor()
    except ValueError as error:
        pytest.skip(str(error))
    with java_meteor:
        yield java_meteor


# The class Meteor of pycocoevalcap 1.2: score of the set, scores of the pairs.
@pytest.mark.slow
@pytest.mark.parametrize(
    "references, predictions, expected, expected_pairs",
    [
        (
            REFERENCES,
            PREDICTIONS,
            0.3111890678082022,
            [
                0.45918739372368883,
                0.36425729139898194,
                0.297133789461846,
                0.367438201555635,
                0.30231864402796654,
                0.0,
            ],
        ),
        # A pair that is right as a whole adds no chunk to the set.
        (
            REFERENCES[:2],
            [REFERENCES[0], PREDICTIONS[1]],
            0.4741439491489519,
            [1.0, 0.36425729139898194],
        ),
        (
            ["a cat", "naïve café ünïcode"],
            ["", "naïve café thing"],
            0.23113048162370592,
            [0.0, 0.3184464413482169],
        ),
        (["big dog , the cat"], ["the big dog"], 0.30068718959391766, None),
        (REFERENCES, REFERENCES, 1.0, [1.0] * 6),
    ],
    ids=["all", "one right", "empty and accents", "comma", "true prompts"],
)
def test_scores_equal_pycocoevalcap_s(
    program, references, predictions, expected, expected_pairs
):
    counts = program.count_matches(references, predictions)
    found = meteor_java.score_sums(counts.sum(axis=0))
    np.testing.assert_allclose(found, 100 * expected, rtol=1e-9)
    if expected_pairs:
        found = meteor_java.score_sums(counts)
        np.testing.assert_allclose(found, 100 * np.array(expected_pairs), rtol=1e-9)


@pytest.mark.slow
def test_a_line_break_or_a_bar_does_not_put_answers_out_of_step(program):
    counts = program.count_matches(
        ["a cat\nsat", "red", ""], ["a ||| cat\r\nsat", "red", ""]
    )
    np.testing.assert_allclose(meteor_java.score_sums(counts), [100, 100, 0])


@pytest.mark.slow
def test_score_says_which_meteor_it_is(program):
    found = score.score(
        REFERENCES, PREDICTIONS, metrics=["meteor"], java_meteor=program
    )["meteor"]
    assert found["score"] == pytest.approx(31.11890678082022)
    assert found["low"] < found["score"] < found["high"]
    assert "|meteor-1.5.jar|java:" in found["signature"]
    assert "|l:en|" in found["signature"]


def test_a_sum_by_hand():
    # One content word of two and the one function word, exact, in one chunk, of a
    # prediction of 2 words: P = (0.75 + 0.25) / (0.75 + 0.25) = 1, R = 1 / 1.75,
    # mean = R / (0.85 + 0.15 * R), fragments = 1 / 2.
    sums = np.zeros(23)
    sums[:8] = [2, 3, 1, 1, 1, 1, 1, 1]
    sums[20:] = [1, 2, 2]
    recall = 1 / 1.75
    mean = recall / (0.85 + 0.15 * recall)
    expected = 100 * mean * (1 - 0.6 * 0.5**0.2)
    np.testing.assert_allclose(meteor_java.score_sums(sums), expected)


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A function that makes a script the `java` that is found, with a jar to run."""

    def install(script):
        java = tmp_path / "java"
        java.write_text(f"#!{sys.executable}\nimport sys\n{script}")
        java.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        jar = tmp_path / "meteor-0.jar"
        monkeypatch.setattr(meteor_java, "_find_jar", lambda: jar)
        monkeypatch.setattr(meteor_java, "PACKAGE", "numpy")

    return install


VERSION = """
if sys.argv[1] == "-version":
    sys.exit(print('openjdk version "17.0.1"', file=sys.stderr))
"""


def test_a_program_that_fails_is_named_and_does_not_hang(stand_in):
    stand_in(VERSION + "sys.stdin.readline()\nsys.exit('Error: no memory')")
    with meteor_java.JavaMeteor() as program:
        with pytest.raises(ChildProcessError, match="Received: Error: no memory"):
            program.count_matches(["a"], ["a"])


def test_much_on_stderr_blocks_nothing_and_the_program_is_ended(stand_in):
    # A pipe holds 64 kB.
    stand_in(
        VERSION
        + "for line in sys.stdin:\n"
        + "    print('x' * 100_000, file=sys.stderr)\n"
        + "    print('1 ' * 23, flush=True)\n"
    )
    with meteor_java.JavaMeteor() as program:
        assert program.count_matches(["a"] * 3, ["a"] * 3).shape == (3, 23)
        process = program._process
        assert process.poll() is None
    assert process.poll() is not None
    assert process.stdin.closed and process.stdout.closed


def test_a_java_that_only_stands_there_is_refused(stand_in):
    stand_in("sys.exit('No Java runtime present')")
    with pytest.raises(ValueError, match="Install one, on Debian with: apt-get"):
        meteor_java.JavaMeteor()


def test_a_machine_without_java_says_what_to_install(stand_in, monkeypatch, tmp_path):
    stand_in("")
    (tmp_path / "java").unlink()
    monkeypatch.setattr(subprocess, "run", None)
    with pytest.raises(ValueError, match="no working `java` on PATH"):
        meteor_java.JavaMeteor()


def test_a_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr(meteor_java, "PACKAGE", "no_such_package")
    with pytest.raises(ValueError, match=r'pip install "tf_prompt\[eval\]"'):
        meteor_java.JavaMeteor()
