"""A run goes on, is repeated and is tested with the data it began with."""

import dataclasses
import shutil

import pytest

from tests.faults.conftest import assert_same_run, last_weights
from tests.faults.test_corruption import new_model, save
from tf_prompt import fit
from tf_prompt.data import folder as data_folder
from tf_prompt.files import read_json, write_json
from tf_prompt.runs import folder as run_folder
from tf_prompt.runs.config import FitConfig
from tf_prompt.training import recipes


@pytest.fixture
def shards(tiny_shards, tmp_path):
    return shutil.copytree(tiny_shards, tmp_path / "shards")


@pytest.fixture
def begun(shards, tmp_path):
    """A run with one epoch done, and its options."""
    config = recipes.complete(FitConfig(data=str(shards), flip=True))
    run_dir = run_folder.open_run(tmp_path / "run", config, shards)
    save(new_model(), run_dir, 1)
    return config, run_dir


def change(shards, split):
    """One byte within the first picture of the last shard."""
    path = sorted(shards.glob(f"{split}-*"))[-1]
    content = bytearray(path.read_bytes())
    content[300] ^= 1
    path.write_bytes(content)


def test_fingerprint_is_that_of_the_split(shards):
    before = data_folder.fingerprint(shards)
    assert set(before) == {"train", "validation", "test"}
    assert len(set(before.values())) == 3
    assert data_folder.fingerprint(shards) == before
    change(shards, "validation")
    after = data_folder.fingerprint(shards)
    assert [split for split in before if before[split] != after[split]] == [
        "validation"
    ]
    shutil.copy(shards / "test-00000.tfrecord", shards / "test-00009.tfrecord")
    assert data_folder.fingerprint(shards)["test"] != before["test"]


def test_run_does_not_go_on_with_other_data(begun, shards):
    config, run_dir = begun
    assert run_folder.open_run(run_dir, config, shards) == run_dir
    change(shards, "train")
    with pytest.raises(ValueError, match="whose train split has the fingerprint"):
        run_folder.open_run(run_dir, config, shards)


def test_run_is_not_tested_on_changed_data(begun, shards, tiny_shards):
    _, run_dir = begun
    assert run_folder.find_data(run_dir) == shards
    change(shards, "test")
    with pytest.raises(ValueError, match="whose test split has the fingerprint"):
        run_folder.find_data(run_dir)
    # Other data that is asked for by name is what its user wants.
    assert run_folder.find_data(run_dir, str(tiny_shards)) == tiny_shards


def test_config_json_has_versions(begun):
    saved = read_json(begun[1] / "config.json")
    for name in ("package", "tensorflow", "keras", "keras_hub", "numpy", "python"):
        assert saved[f"{name}_version"], name


def test_config_flag_stands_for_all_flags(begun, tmp_path):
    config, run_dir = begun
    config = dataclasses.replace(
        config, set=("image_size=32", "num_heads=2"), flip=False, patience=3
    )
    write_json(tmp_path / "c.json", {**dataclasses.asdict(config), "unknown": 1})
    argv = ["--config", str(tmp_path / "c.json")]
    options, saved = fit.parse(argv)
    assert saved["unknown"] == 1
    for field in dataclasses.fields(FitConfig):
        expected = getattr(config, field.name)
        assert getattr(options, field.name) == expected, field.name
    # What is given too is taken, before or after.
    options, _ = fit.parse(["--patience", "5", *argv, "--flip"])
    assert (options.patience, options.flip, options.seed) == (5, True, 0)


@pytest.mark.parametrize("content", ["[]", '{"a": 1}', '{"preset": '])
def test_file_that_is_no_config_is_one_line(tmp_path, content):
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(ValueError, match="Received: .*c.json"):
        fit.parse(["--config", str(tmp_path / "c.json")])


def test_value_of_a_wrong_type_is_one_line(tmp_path, capsys):
    write_json(tmp_path / "c.json", {"preset": "lstm_tiny", "epochs": "many"})
    with pytest.raises(SystemExit):
        fit.parse(["--config", str(tmp_path / "c.json")])
    assert "--epochs: invalid int value: 'many'" in capsys.readouterr().err


def test_repeated_run_wants_the_same_data_and_names_versions(begun, shards, capsys):
    config, run_dir = begun
    saved = {**read_json(run_dir / "config.json"), "numpy_version": "1.2.3"}
    run_folder.compare_with(saved, config)
    assert "written with numpy 1.2.3, installed is" in capsys.readouterr().err
    change(shards, "train")
    with pytest.raises(ValueError, match="data must be what the run of config"):
        run_folder.compare_with(saved, config)


@pytest.mark.slow
def test_config_json_repeats_the_run(nursery, undisturbed, tmp_path):
    argv = ["--config", str(undisturbed / "config.json")]
    argv += ["--run-dir", str(tmp_path / "run")]
    code, stderr = nursery.run(argv, tmp_path / "stderr")
    assert code == 0, stderr
    assert_same_run(tmp_path / "run", undisturbed)


@pytest.mark.slow
def test_deterministic_runs_are_equal(nursery, argv_for, tmp_path):
    for name in ("one", "two"):
        argv = argv_for(tmp_path / name, "--deterministic", "--erasing-rate", "0.5")
        code, stderr = nursery.run(argv, tmp_path / "stderr")
        assert code == 0, stderr
    assert_same_run(tmp_path / "one", tmp_path / "two")
    argv = argv_for(tmp_path / "three", "--erasing-rate", "0.5", "--seed", "1")
    nursery.run(argv, tmp_path / "stderr")
    one, three = last_weights(tmp_path / "one"), last_weights(tmp_path / "three")
    assert any((one[name] != three[name]).any() for name in one)
