"""SavedModels from elsewhere: what touches files is refused before it is loaded."""

import pathlib

import pytest
import tensorflow as tf

from tf_prompt.serving.saved_model import SavedPromptWriter

TEXT = [tf.TensorSpec((None,), tf.string, name="image_bytes")]


def save(folder, serve, **attributes):
    """A SavedModel with a signature of ours."""
    module = tf.Module()
    for name, value in attributes.items():
        setattr(module, name, value)
    module.serve = tf.function(serve, input_signature=TEXT)
    tf.saved_model.save(module, str(folder), {"serving_default": module.serve})
    return folder


def write(image_bytes):
    return {"prompt": image_bytes, "score": tf.zeros(tf.shape(image_bytes))}


def test_a_model_that_only_computes_is_taken(tmp_path):
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(["a"], ["fox"]), "none"
    )

    def look_up(image_bytes):
        return {**write(table.lookup(image_bytes))}

    folder = save(tmp_path, look_up, table=table, weight=tf.Variable([1.0]))
    assert list(SavedPromptWriter(folder)([b"a", b"b"])["prompt"]) == [b"fox", b"none"]


def reading(path):
    return lambda x: write(x + tf.io.read_file(path))


def writing(path):
    def serve(image_bytes):
        with tf.control_dependencies([tf.io.write_file(path, "trap")]):
            return write(tf.identity(image_bytes))

    return serve


def calling(path):
    def run(x):
        pathlib.Path(path).touch()
        return x

    return lambda x: write(
        tf.ensure_shape(tf.numpy_function(run, [x], x.dtype), [None])
    )


def printing(path):
    def serve(image_bytes):
        tf.print("trap", output_stream=f"file://{path}")
        return write(image_bytes)

    return serve


def hidden(path):
    """Inside a branch inside a loop of a dataset."""

    def serve(image_bytes):
        dataset = tf.data.Dataset.from_tensor_slices(image_bytes)
        dataset = dataset.map(
            lambda x: tf.cond(x == b"", lambda: x, lambda: tf.io.read_file(path))
        )
        return write(image_bytes + dataset.reduce("", lambda a, b: a + b))

    return serve


def caching(path):
    def serve(image_bytes):
        dataset = tf.data.Dataset.from_tensor_slices(image_bytes).cache(path)
        return write(image_bytes + dataset.reduce("", lambda a, b: a + b))

    return serve


@pytest.mark.parametrize(
    "make",
    [reading, writing, calling, printing, hidden, caching],
    ids=lambda f: f.__name__,
)
def test_a_model_that_touches_files_is_not_loaded(tmp_path, monkeypatch, make):
    trap = tmp_path / "trap"
    folder = save(tmp_path / "model", make(str(trap)))
    monkeypatch.setattr(tf.saved_model, "load", None)  # It must not come so far.
    with pytest.raises(ValueError, match="it has the operation") as error:
        SavedPromptWriter(folder)
    assert "\n" not in str(error.value) and str(folder) in str(error.value)
    assert not trap.exists()


def test_what_runs_while_loading_is_looked_through(tmp_path):
    """A table is filled as the model is loaded, not when it is called."""
    words = tmp_path / "words.txt"
    words.write_text("fox\n")
    table = tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(
            str(words),
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        ),
        -1,
    )
    module = save(
        tmp_path / "model",
        lambda x: write(tf.strings.as_string(table.lookup(x))),
        table=table,
    )
    with pytest.raises(ValueError, match="TextFile"):
        SavedPromptWriter(module)


def test_a_model_of_tensorflow_1_is_refused(tmp_path):
    """TensorFlow would run its graph to bring it into the present form."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.string, [None], "image_bytes")
        builder = tf.compat.v1.saved_model.Builder(str(tmp_path / "model"))
        info = tf.compat.v1.saved_model.build_tensor_info(x)
        signature = tf.compat.v1.saved_model.build_signature_def(
            {"image_bytes": info}, {"prompt": info}, "predict"
        )
        builder.add_meta_graph_and_variables(
            session, ["serve"], {"serving_default": signature}
        )
        builder.save()
    with pytest.raises(ValueError, match="not of TensorFlow 2"):
        SavedPromptWriter(tmp_path / "model")


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x01" * 50])
def test_a_damaged_model_is_one_line(tmp_path, content):
    (tmp_path / "saved_model.pb").write_bytes(content)
    with pytest.raises(ValueError, match="must be an intact export. Received") as error:
        SavedPromptWriter(tmp_path)
    assert "\n" not in str(error.value)


def test_a_model_without_its_weights_is_one_line(tmp_path):
    weight = tf.Variable(1.0)
    folder = save(tmp_path, lambda x: {**write(x), "weight": weight + 0}, weight=weight)
    for path in (folder / "variables").iterdir():
        path.write_bytes(path.read_bytes()[:10])
    with pytest.raises(ValueError, match="must be an intact export. Received"):
        SavedPromptWriter(folder)
