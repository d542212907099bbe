"""The Python interface in a fresh notebook kernel: what users type, and see."""

import os
import pathlib
import re

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("tensorflow_serving", reason="needs tf_prompt[tf-serving]")

# Cells and their output, as a pattern.
RED = r"Prompt\(text='a red patch left', score=-0\.\d+\)"
GREEN = r"Prompt\(text='a green patch top', score=-0\.\d+\)"
CELLS = {
    "run": (
        """
import tf_prompt
model = tf_prompt.load("runs/transformer_tiny", num_beams=3)
words, weights = model.attend("red.jpg")
model, model.predict(["red.jpg", "green.jpg"]), model.embed("red.jpg").shape, words
""",
        rf"\(LoadedModel\('runs/transformer_tiny'\),\s+\[{RED},\s+{GREEN}\],\s+"
        r"\(1, 384\),\s+\['a', 'red', 'patch', 'left'\]\)",
    ),
    "export": (
        """
exported = tf_prompt.load("exported/transformer_tiny/1")
exported.predict("red.jpg"), exported.attend("red.jpg")[1].shape
""",
        rf"\(\[{RED}\], \(4, 16\)\)",
    ),
    "server": (
        """
served = tf_prompt.load(ADDRESS)
served.predict(["red.jpg", "green.jpg"])
""",
        rf"\[{RED},\s+{GREEN}\]",
    ),
    "interrogator": (
        """
interrogator = tf_prompt.Interrogator.from_run("runs/clip_interrogator_tiny")
found = interrogator.interrogate("red.jpg")
found.prompt, found.phrases["subjects"][0]
""",
        r"\('a \w+.*', \('a .* patch', -?0\.\d+\)\)",
    ),
    "score": (
        """
truth, predicted = ["a red patch", "a blue sky"], ["a red patch", "a grey sky"]
tf_prompt.score(truth, predicted, metrics=["bleu_1"])
""",
        r"\{'bleu_1': \{'score': 83\.3+,\s+'low': 66\.6+7,\s+'high': 100\.0,\s+"
        r"'signature': '.*\|n:1\|.*'\}\}",
    ),
}
ERRORS = {
    "exported.embed('red.jpg')": "this needs a run, or an export with the signature "
    "embed. Received: exported/transformer_tiny/1",
    "served.attend('red.jpg')": "this needs a run, or an export with the signature "
    "attention. Received: {address}",
    "model.predict(['red.jpg', b'no image'])": "images must be decodable images. "
    "Received something else at images[1]",
    "tf_prompt.load('exported/transformer_tiny')": "place must be the folder of a run, "
    "the folder of one version of an export such as saved_models/NAME/1, or the "
    "address of a server. Received: exported/transformer_tiny",
}


@pytest.fixture(scope="module")
def server(tiny_export):
    from tests.serving.model_server import ModelServer

    with ModelServer(tiny_export.parents[1]) as running:
        yield running


@pytest.mark.slow
# Jupyter's own packages warn of each other.
@pytest.mark.filterwarnings("default")
def test_cells_show_what_they_should(workplace, tiny_export, server, monkeypatch):
    """Fifteen seconds: a kernel imports TensorFlow."""
    (workplace / "exported").symlink_to(tiny_export.parents[1])
    monkeypatch.setenv("PYTHONPATH", str(pathlib.Path(__file__).parents[1]))
    for name in ("JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(workplace / name.lower()))
    sources = [source.strip() for source, _ in CELLS.values()]
    sources = [source.replace("ADDRESS", repr(server.url)) for source in sources]
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(s) for s in (*sources, *ERRORS)]
    nbclient.NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        allow_errors=True,
        resources={"metadata": {"path": str(workplace)}},
    ).execute()
    if "SHOW_CELLS" in os.environ:
        print(nbformat.writes(notebook))
    shown = [cell.outputs for cell in notebook.cells]
    for (_, pattern), outputs in zip(CELLS.values(), shown, strict=False):
        # Nothing but the result: no warning of TensorFlow, no bar for one image.
        assert [output.output_type for output in outputs] == ["execute_result"], outputs
        assert re.fullmatch(pattern, outputs[0].data["text/plain"], re.DOTALL)
    for message, outputs in zip(ERRORS.values(), shown[len(CELLS) :], strict=True):
        (error,) = outputs
        assert error.evalue == message.format(address=server.url)
