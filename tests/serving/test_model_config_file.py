"""TF Serving's list of models, checked against its own message where installed."""

import pathlib
import re

import pytest

from tf_prompt.predict import PredictConfig
from tf_prompt.serving import model_config_file, warmup

SAVED_MODELS = pathlib.Path(__file__).parents[2] / "saved_models"
BY_HAND = """
# of a user
model_config_list: {
  config: { name: 'other', base_path: "s3://bucket/other"  # far away
    model_platform: "tensorflow",
    model_version_policy < all {} > }
  config {
    name: "lstm_tiny" base_path: "/elsewhere/lstm_tiny" model_platform: "tensorflow"
    model_version_policy { specific { versions: [1, 3] } }
    version_labels { key: "stable" value: 1 }
    version_labels { key: "old" value: 3 };
    logging_config { sampling_config { sampling_rate: 1.5e-1 } }
  }
}
"""


def parse(path):
    """Reads a file by TF Serving's own definition of the message."""
    definition = pytest.importorskip(
        "tensorflow_serving.config.model_server_config_pb2"
    )
    text_format = pytest.importorskip("google.protobuf.text_format")
    return text_format.Parse(path.read_text(), definition.ModelServerConfig())


def test_a_new_file_lists_its_models(tmp_path):
    path = tmp_path / "models.config"
    model_config_file.add_model(path, "lstm_tiny", {})
    model_config_file.add_model(path, "vit_regressor_tiny", {})
    model_config_file.add_model(path, "lstm_tiny", {})
    found = parse(path).model_config_list.config
    assert [(m.name, m.base_path, m.model_platform) for m in found] == [
        ("lstm_tiny", "/models/lstm_tiny", "tensorflow"),
        ("vit_regressor_tiny", "/models/vit_regressor_tiny", "tensorflow"),
    ]
    assert model_config_file.read_labels(path, "lstm_tiny") == {}


def test_labels_name_the_versions_that_are_loaded(tmp_path):
    path = tmp_path / "models.config"
    labels = {"stable": 3, "canary": 12}
    model_config_file.add_model(path, "lstm_tiny", labels)
    (found,) = parse(path).model_config_list.config
    assert dict(found.version_labels) == labels
    assert list(found.model_version_policy.specific.versions) == [3, 12]
    assert model_config_file.read_labels(path, "lstm_tiny") == labels


def test_a_version_stays_while_its_label_moves(tmp_path):
    """A server moves a label only once it has loaded the new version."""
    path = tmp_path / "models.config"
    for version, loaded in [(3, [3]), (4, [3, 4]), (5, [4, 5]), (5, [5])]:
        labels = {"stable": version}
        assert model_config_file.add_model(path, "lstm_tiny", labels) == loaded
        (found,) = parse(path).model_config_list.config
        assert list(found.model_version_policy.specific.versions) == loaded
        assert dict(found.version_labels) == labels


def test_what_a_user_wrote_stays(tmp_path):
    path = tmp_path / "models.config"
    path.write_text(BY_HAND)
    before = parse(path)
    labels = model_config_file.read_labels(path, "lstm_tiny")
    assert labels == {"stable": 1, "old": 3}
    model_config_file.add_model(path, "lstm_tiny", labels)
    assert parse(path) == before
    model_config_file.add_model(path, "lstm_tiny", {**labels, "stable": 4})
    other, ours = parse(path).model_config_list.config
    assert other == before.model_config_list.config[0]
    assert list(ours.model_version_policy.specific.versions) == [1, 3, 4]
    assert ours.base_path == "/elsewhere/lstm_tiny"
    assert ours.logging_config.sampling_config.sampling_rate == 0.15


@pytest.mark.parametrize(
    "text", ["model_config_list {", "model_config_list }", "a: ", "{}", "a: { b: } }"]
)
def test_another_format_is_refused(tmp_path, text):
    path = tmp_path / "models.config"
    path.write_text(text)
    with pytest.raises(ValueError, match="must have TF Serving's format. Received"):
        model_config_file.read_labels(path, "lstm_tiny")
    with pytest.raises(ValueError, match="must have TF Serving's format. Received"):
        model_config_file.add_model(path, "lstm_tiny", {})
    assert path.read_text() == text


def test_the_file_in_the_repository_is_ours(tmp_path):
    path = SAVED_MODELS / model_config_file.FILE
    (found,) = parse(path).model_config_list.config
    copy = tmp_path / "models.config"
    copy.write_bytes(path.read_bytes())
    model_config_file.add_model(copy, found.name, {})
    assert copy.read_text() == path.read_text()


def test_a_server_forms_the_batches_that_are_warm():
    text = (SAVED_MODELS / "batching.config").read_text()
    sizes = re.findall(r"^allowed_batch_sizes: (\d+)$", text, re.MULTILINE)
    assert tuple(map(int, sizes)) == warmup.BATCH_SIZES
    (most,) = re.findall(r"^max_batch_size \{ value: (\d+) \}$", text, re.MULTILINE)
    assert int(most) == max(warmup.BATCH_SIZES)
    # What `predict` sends must get through.
    asked = PredictConfig(paths=("x",), server="localhost:8500", model="m")
    assert asked.images_at_once == int(most)
