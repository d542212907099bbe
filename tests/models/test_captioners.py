import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import checks
from tf_prompt.data.text import END_ID, PAD_ID, START_ID, UNK_ID
from tf_prompt.decoding.rules import Rules
from tf_prompt.decoding.search import Search
from tf_prompt.models import presets

NAMES = ["lstm_tiny", "transformer_tiny"]
BANNED = (PAD_ID, UNK_ID, START_ID)
# For what depends on the output layer alone.
FEW_LAYERS = {
    "lstm_tiny": {"units": 16},
    "transformer_tiny": {"num_encoder_layers": 0, "num_decoder_layers": 1},
}


def build(name, **overrides):
    sizes = {"image_size": 32, "conv_filters": (8, 16), "vocab_size": 20}
    return presets.build(name, **{**sizes, "max_tokens": 9, **overrides})


def inputs(batch=3, tokens=6):
    rng = np.random.default_rng(0)
    return {
        "images": tf.constant(rng.integers(0, 256, (batch, 32, 32, 3)), tf.uint8),
        "token_ids": tf.constant(rng.integers(4, 20, (batch, tokens)), tf.int32),
    }


@pytest.fixture(scope="module", params=NAMES)
def model(request):
    """A captioner of each kind, which no test changes."""
    keras.utils.set_random_seed(0)
    return build(request.param)


@pytest.mark.parametrize("name", NAMES)
def test_model_contract(name, tmp_path):
    checks.check_model(build(name), inputs(), tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_tied_weights_are_one_table(name, tmp_path):
    sizes = {**FEW_LAYERS[name], "embedding_dim": 16}
    apart = build(name, **sizes)
    model = build(name, tie_weights=True, **sizes)
    checks.check_model(model, inputs(), tmp_path)
    assert apart.count_params() - model.count_params() == 16 * 20
    batch = inputs()
    state, memory = model.encode(batch["images"])
    first, _ = model.step(batch["token_ids"][:, 0], 0, state, memory)
    np.testing.assert_allclose(first, model(batch)[:, 0], atol=1e-5)
    # The row of a token is what it is scored by.
    model.embedding.embeddings.assign(model.embedding.embeddings * 0)
    bias = np.broadcast_to(model.output_proj.bias, (3, 6, 20))
    np.testing.assert_allclose(model(batch), bias, atol=1e-6)


def test_tied_weights_need_one_width():
    with pytest.raises(ValueError, match="as wide as the embeddings. Received: 8 and"):
        build("lstm_tiny", embedding_dim=16, units=8, tie_weights=True)


@pytest.mark.parametrize("name", NAMES)
def test_labels_are_smoothed_in_training_only(name):
    options = {"label_smoothing": 0.2, "dropout_rate": 0.0}
    model = build(name, **options, **FEW_LAYERS[name])
    batch = inputs()
    batch["target_ids"] = batch["token_ids"]
    plain = -tf.nn.log_softmax(model(inputs()))
    targets = tf.one_hot(batch["target_ids"], 20)
    true = tf.reduce_sum(targets * plain, axis=-1)
    call = tf.function(model, autograph=False)
    np.testing.assert_allclose(call(batch)[..., 0], true, rtol=1e-4)
    smooth = 0.8 * true + 0.2 * tf.reduce_mean(plain, axis=-1)
    found = call(batch, training=True)[..., 0]
    np.testing.assert_allclose(found, smooth, rtol=1e-4)


def test_logits_never_look_ahead(model):
    batch = inputs()
    before = model(batch)
    changed = tf.concat([batch["token_ids"][:, :-1], [[5]] * 3], axis=1)
    after = model({**batch, "token_ids": changed})
    assert before.shape == (3, 6, 20)
    np.testing.assert_allclose(before[:, :-1], after[:, :-1], atol=1e-5)
    assert np.abs(before[:, -1] - after[:, -1]).max() > 1e-3


@pytest.mark.parametrize("prompts", [1, 2])
def test_steps_give_the_logits_of_the_whole(model, prompts):
    images = inputs()["images"]
    token_ids = inputs(3 * prompts)["token_ids"]
    repeated = tf.repeat(images, prompts, axis=0)
    whole = model({"images": repeated, "token_ids": token_ids})
    state, memory = model.encode(images)
    state = tf.nest.map_structure(lambda x: tf.repeat(x, prompts, axis=0), state)
    for position in range(6):
        logits, state = model.step(token_ids[:, position], position, state, memory)
        np.testing.assert_allclose(logits, whole[:, position], atol=1e-5)


@pytest.mark.parametrize("in_graph", [False, True], ids=["eager", "graph"])
def test_greedy_takes_the_likeliest_token_each_time(model, in_graph):
    images = inputs()["images"]

    def write(images):
        starts = tf.fill([tf.shape(images)[0]], START_ID)
        state, memory = model.encode(images)
        search = Search(model.step, END_ID, 9, Rules(BANNED))
        return search.greedy(state, memory, starts)

    run = tf.function(write, autograph=False) if in_graph else write
    written, scores, ended = run(images)
    # The slow way: the whole model again for each token.
    prompts = [[START_ID] for _ in range(3)]
    totals = np.zeros(3)
    for length in range(1, 10):
        padded = [prompt + [PAD_ID] * (9 - len(prompt)) for prompt in prompts]
        logits = model({"images": images, "token_ids": tf.constant(padded)})
        for row, prompt in enumerate(prompts):
            if prompt[-1] == END_ID:
                continue
            log_probs = np.array(logits[row, length - 1], np.float64)
            log_probs[list(BANNED)] = -np.inf
            log_probs -= np.log(np.exp(log_probs).sum())
            prompt.append(int(log_probs.argmax()))
            totals[row] += log_probs.max()
    for row, prompt in enumerate(prompts):
        expected = prompt[1:] + [END_ID] * (10 - len(prompt))
        np.testing.assert_array_equal(written[row], expected)
        mean = totals[row] / (len(prompt) - 1)
        assert float(scores[row]) == pytest.approx(mean, abs=1e-4)
        assert ended[row] == (prompt[-1] == END_ID)


def test_attention_is_a_distribution_over_regions(model):
    batch = inputs()
    weights = np.array(model.attend(batch["images"], batch["token_ids"]))
    assert weights.shape == (3, 6, 16)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-5)
    assert np.ptp(weights, axis=1).max() > 1e-4


def test_pictures_change_the_prompt():
    model = build("lstm_tiny")
    batch = inputs()
    other = model({**batch, "images": 255 - batch["images"]})
    assert np.abs(model(batch) - other).max() > 1e-4


@pytest.mark.parametrize(
    "overrides, message",
    [
        ({"vocab_size": 0}, "`vocab_size` must be positive. Received: vocab_size=0"),
        ({"encoder": "vgg"}, "backbone must be one of"),
        ({"conv_filters": ()}, "`conv_filters` must be positive"),
        ({"image_size": -4}, "`image_size` must be positive"),
        ({"colour": 1}, "a setting of lstm_tiny must be one of attention_units"),
    ],
)
def test_bad_arguments(overrides, message):
    with pytest.raises(ValueError, match=message):
        build("lstm_tiny", **overrides)


def test_unknown_preset_lists_the_known():
    with pytest.raises(
        ValueError, match="lstm_base, lstm_tiny, paligemma2_3b, paligemma_tiny"
    ):
        presets.build("gpt")


def test_given_regions_replace_images(model):
    batch = inputs()
    regions = model.extract_regions(batch["images"])
    given = model({"regions": regions, "token_ids": batch["token_ids"]})
    np.testing.assert_allclose(given, model(batch), atol=1e-6)


def test_lstm_has_the_gradients_of_its_steps():
    """`step` goes through Keras' own layers, and TensorFlow differentiates it."""
    model, batch = build("lstm_tiny"), inputs()
    weights = [variable.value for variable in model.trainable_variables]
    scale = tf.constant(np.random.default_rng(1).normal(size=(3, 6, 20)), tf.float32)

    def differentiate(run):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(run() * scale)
        return [tf.convert_to_tensor(g) for g in tape.gradient(total, weights)]

    def run_steps():
        state, memory = model.encode(batch["images"])
        outputs = []
        for position in range(6):
            token_ids = batch["token_ids"][:, position]
            logits, state = model.step(token_ids, position, state, memory)
            outputs.append(logits)
        return tf.stack(outputs, axis=1)

    found = differentiate(lambda: model(batch, training=True))
    # As in `fit`: prompts of any length, batches of any size.
    open_shapes = {
        name: tf.TensorSpec((None, *shape), batch[name].dtype)
        for name, shape in {"images": (32, 32, 3), "token_ids": (None,)}.items()
    }

    @tf.function(input_signature=[open_shapes], autograph=False)
    def run_graph(batch):
        return differentiate(lambda: model(batch, training=True))

    in_graph = run_graph(batch)
    expected = differentiate(run_steps)
    for ours, graph, theirs in zip(found, in_graph, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(graph, theirs, rtol=1e-3, atol=1e-4)
