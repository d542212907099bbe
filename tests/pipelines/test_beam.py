import os
import subprocess
import sys

import pytest

from pipelines import beam, image_hashes, write_records
from pipelines.options import LAYOUTS, Conversion, WriteOptions
from tests.pipelines.conftest import encode, make_row, write_source
from tests.pipelines.samples import SAMPLES
from tests.pipelines.test_convert import contents

pytest.importorskip("apache_beam")

pytestmark = pytest.mark.filterwarnings(
    # protobuf, about a field that TFDS looks up while it writes dataset_info.json.
    "ignore:label\\(\\) is deprecated",
)


def run(source, output, *flags):
    """Runs the job in this process, with small images."""
    argv = ["--source", str(source), "--output", str(output), "--image-size", "16"]
    return beam.main([*argv, "--runner", "DirectRunner", *flags])


def write_reference(source, output, *flags):
    """What `write_records` makes of the same source."""
    argv = ["--source", str(source), "--output", str(output), "--image-size", "16"]
    return write_records.main([*argv, "--processes", "1", *flags])


def last_error(capsys):
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("flags", [(), ("--group-near-duplicates", "--min-step=5")])
def test_job_gives_the_bytes_of_write_records(source_2m, tmp_path, capsys, flags):
    assert write_reference(source_2m, tmp_path / "one", *flags) == 0
    printed = capsys.readouterr().out
    assert run(source_2m, tmp_path / "two", *flags) == 0
    assert capsys.readouterr().out == printed
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_works_too(layout, tmp_path):
    source = SAMPLES[layout](tmp_path / "in")
    flags = ("--layout", layout, "--max-per-prompt=1", "--no-clean-prompts")
    flags += ("--group-families", "0.5")
    assert write_reference(source, tmp_path / "one", *flags) == 0
    assert run(source, tmp_path / "two", *flags) == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_restart_redoes_only_what_is_missing(source_2m, tmp_path):
    out = tmp_path / "out"
    run(source_2m, out)
    before = contents(out)
    (out / "part-00001.json").unlink()
    for path in out.iterdir():
        os.utime(path, (1, 1))
    assert run(source_2m, out) == 0
    assert contents(out) == before
    old = {path.name for path in out.iterdir() if path.stat().st_mtime == 1}
    assert old == {name for name in before if "-00000." in name or "-00002." in name}


def test_files_of_others_are_replaced_by_force_alone(source_2m, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "stats.json").write_text("mine")
    assert run(source_2m, tmp_path / "out") == 2
    assert "with stats.json; --force replaces stats.json" in last_error(capsys)
    assert (tmp_path / "out" / "stats.json").read_text() == "mine"
    assert run(source_2m, tmp_path / "out", "--force") == 0
    assert "beam: --force replaces stats.json" in capsys.readouterr().err
    # Both commands write one thing, and each goes on with the other's.
    assert write_reference(source_2m, tmp_path / "out") == 0


def test_rejected_rows_are_judged_as_in_write_records(tmp_path, capsys):
    names = [f"{letter}.png" for letter in "abcdefghij"]
    members = dict.fromkeys(names, encode()) | {"j.png": b"broken"}
    rows = [make_row(name, f"a {name}") for name in names]
    source = write_source(tmp_path / "in", rows, members)
    assert run(source, tmp_path / "out") == 1
    assert "undecodable_image j.png" in last_error(capsys)
    assert run(source, tmp_path / "out", "--max-reject-rate", "0.1") == 0


def test_what_fails_on_a_worker_is_one_last_line(
    source_2m, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(image_hashes, "imagehash", None)
    assert run(source_2m, tmp_path / "out", "--group-near-duplicate-images") == 2
    line = last_error(capsys)
    assert line.startswith("beam: error:") and "images needs an extra" in line


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--squares"], "one of --help or of Apache Beam. Received: --squares"),
        (["stray"], "Received: stray"),
        (["-x"], "Received: -x"),
        (["--direct_num_workers", "two"], "invalid int value: 'two'"),
        (["--direct_running_mode", "fast"], "invalid choice: 'fast'"),
        (["--processes", "2"], "Received: --processes 2"),
        (["--image-size", "-1"], "image_size must be positive"),
        (["--image-size"], "expected one argument"),
        (["--runner", "Turtle"], "Turtle"),
        (["--runner", "PortableRunner"], "--job_endpoint"),
        (["--source", "missing"], "missing"),
    ],
)
def test_wrong_use_is_one_line(source_2m, tmp_path, capsys, flags, message):
    try:
        code = run(source_2m, tmp_path / "out", *flags)
    except SystemExit as exit_of_parser:
        code = exit_of_parser.code
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("beam: error:") and message in line


def test_without_beam_the_extra_is_named(source_2m, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    assert run(source_2m, tmp_path / "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == 'beam: error: beam needs an extra: pip install "tf_prompt[ingest]"'
    assert not (tmp_path / "out").exists()


def test_flags_are_told_apart():
    ours, beams = beam.separate_flags(
        ["--runner", "X", "--source", "--a", "--no-square", "--output=o", "--region=r"]
        + ["--clean-prompts"]
    )
    assert ours == ["--source", "--a", "--no-square", "--output=o", "--clean-prompts"]
    assert beams == ["--runner", "X", "--region=r"]


def test_direct_runner_does_not_hand_over_to_prism(source_2m, tmp_path, monkeypatch):
    from apache_beam.runners.portability import prism_runner

    calls = []
    monkeypatch.setattr(
        prism_runner.PrismRunner, "run_pipeline", lambda *given: calls.append(given)
    )
    assert run(source_2m, tmp_path / "out") == 0
    assert not calls


def test_a_part_that_is_done_is_left_alone(source_2m, tmp_path, monkeypatch):
    from pipelines import convert

    options = WriteOptions(source=str(source_2m), output=str(tmp_path))
    (first, *_) = beam.list_parts(options)
    conversion = Conversion(image_size=16)
    assert beam.convert_once(first, tmp_path, conversion) == 0
    monkeypatch.setattr(convert, "convert_part", None)
    assert beam.convert_once(first, tmp_path, conversion) == 0


@pytest.mark.slow
def test_two_worker_processes_give_the_same_bytes(source_2m, tmp_path):
    assert write_reference(source_2m, tmp_path / "one") == 0
    argv = ["--source", str(source_2m), "--output", str(tmp_path / "two")]
    argv += ["--image-size", "16", "--runner", "DirectRunner"]
    argv += ["--direct_num_workers", "2", "--direct_running_mode", "multi_processing"]
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.beam", *argv],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("rows")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
