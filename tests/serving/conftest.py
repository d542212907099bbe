"""Exported models, and servers of them."""

import shutil
import subprocess
import types

import pytest

pytest.importorskip("tensorflow_serving", reason="needs tf_prompt[tf-serving]")

from tests.serving.model_server import ModelServer  # noqa: E402
from tests.serving.stub import export_stub  # noqa: E402

LABELS = {"stub": {"stable": 1, "canary": 2}}


@pytest.fixture(scope="session")
def stubs(tmp_path_factory):
    """Two versions of the model `stub`, whose prompts begin with their number."""
    folder = tmp_path_factory.mktemp("stubs")
    for version in (1, 2):
        export_stub(folder / "stub" / str(version), f"v{version}")
    return folder


@pytest.fixture(scope="session")
def saved_models(tiny_run, made_once):
    """The export of a run that knows `tiny_shards` by heart."""
    from tf_prompt.inference.loading import Loader
    from tf_prompt.runs.run import Run
    from tf_prompt.serving import versions
    from tf_prompt.serving.saved_model import SIGNATURE

    def make(folder):
        run = Run(tiny_run)
        model = Loader().load_run(run, embeds=False)
        # A server loads the others too, and is asked for none of them here.
        default = types.SimpleNamespace(
            signatures={SIGNATURE: model.serve}, image_size=model.image_size
        )
        versions.export(default, folder / run.preset)

    return made_once("saved_models", make)


@pytest.fixture
def server(stubs):
    """Serves the stubs."""
    with ModelServer(stubs, LABELS) as running:
        yield running


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """Paths of a key and a certificate of localhost that it signs itself."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command, to make a certificate")
    folder = tmp_path_factory.mktemp("certificate")
    key, chain = folder / "key.pem", folder / "chain.pem"
    command = "openssl req -x509 -nodes -days 2 -subj /CN=localhost -newkey ec "
    command += "-pkeyopt ec_paramgen_curve:prime256v1 -addext "
    command += f"subjectAltName=DNS:localhost -keyout {key} -out {chain}"
    subprocess.run(command.split(), check=True, capture_output=True)
    return key, chain
