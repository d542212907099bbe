"""Real processes of `fit` that start in milliseconds: forks of one that has imported.

Importing TensorFlow takes longer than training on twelve prompts. The nursery has
done so and has computed nothing yet; each run is a fork of it, to be killed at will.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import traceback


class Nursery:
    """Starts runs of `fit`; to be used in a `with`."""

    def __enter__(self) -> "Nursery":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # TensorFlow's remarks on GPUs that are not there.
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=pathlib.Path(__file__).parents[2],
        )
        return self

    def __exit__(self, *error) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()

    def start(self, argv, stderr: pathlib.Path) -> int:
        """Begins `fit` with these arguments; gives the number of its process."""
        self._stderr = stderr
        # What an earlier run wrote must not be taken for this one's.
        stderr.unlink(missing_ok=True)
        self._process.stdin.write(json.dumps([list(argv), str(stderr)]) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def wait(self) -> tuple[int, str]:
        """Waits for the end: exit code, negative for a signal, and stderr."""
        code = int(self._process.stdout.readline())
        return code, self._stderr.read_text()

    def run(self, argv, stderr: pathlib.Path) -> tuple[int, str]:
        """Starts and waits."""
        self.start(argv, stderr)
        return self.wait()


def _serve() -> None:
    from tf_prompt import fit
    from tf_prompt.training import loop  # noqa: F401  imported once, for all forks

    # A suite that `nohup` started ignores it, and so would what it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # These runs are about training.
    fit.report = lambda run_dir: None
    for line in iter(sys.stdin.readline, ""):
        argv, stderr = json.loads(line)
        pid = os.fork()
        if not pid:
            _run(fit.main, argv, stderr)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def _run(main, argv, stderr) -> None:
    descriptor = os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 2)
    os.dup2(2, 1)
    code = 1
    try:
        code = main(argv)
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        # Not sys.exit: that would go on in the nursery's own loop.
        os._exit(code)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    _serve()
