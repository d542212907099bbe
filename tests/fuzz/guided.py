"""Lets coverage choose the inputs: `python -m tests.fuzz.guided NAME --runs N`.

Atheris changes bytes of sound files and keeps what reaches new lines. It ends with an
exit code other than 0, and a file `crash-…`, if an input escapes. Not a test by itself:
`test_guided` runs it.
"""

import argparse
import os
import pathlib
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import atheris  # noqa: E402

with atheris.instrument_imports(include=["tf_prompt", "pipelines"]):
    from tests.fuzz import outcomes, targets


def main(argv=None) -> None:
    """Runs one target; libFuzzer ends the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=targets.TARGETS)
    parser.add_argument("--runs", type=int, default=5000, help="inputs to try")
    parser.add_argument("--seed", type=int, default=1, help="of the changes")
    options = parser.parse_args(argv)
    target = targets.TARGETS[options.name]
    root = pathlib.Path(tempfile.mkdtemp(prefix="tf_prompt-guided-"))
    (root / "seeds").mkdir()
    for number, seed in enumerate(target.seeds()):
        (root / "seeds" / str(number)).write_bytes(seed)
    path = root / "work" / target.file
    path.parent.mkdir(parents=True)

    def try_one(data):
        path.write_bytes(data)
        outcomes.outcome_of(options.name, target.read, path)

    limits = [f"-runs={options.runs}", f"-seed={options.seed}", "-rss_limit_mb=4096"]
    limits += ["-timeout=30", "-max_len=20000", f"-artifact_prefix={root}/"]
    arguments = [sys.argv[0], *limits, "-print_final_stats=1", str(root / "seeds")]
    atheris.Setup(arguments, try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
