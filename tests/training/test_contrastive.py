import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from tests import checks
from tf_prompt.data import contrastive_batches, text
from tf_prompt.data import folder as data_folder
from tf_prompt.data.reading import Reading
from tf_prompt.interrogation import clip_tokens
from tf_prompt.models import clip
from tf_prompt.models.interrogator import CLIPInterrogator
from tf_prompt.runs.config import FitConfig
from tf_prompt.training import building, losses
from tf_prompt.training.tasks.contrastive import InterrogationTask

DISTINCT = np.array([[8, 1, 9, 0], [8, 2, 9, 0], [8, 3, 4, 9]])


@pytest.fixture(scope="module")
def vocabulary(tiny_shards):
    counts, _ = data_folder.count_words(tiny_shards)
    return text.build_vocabulary(counts, 100)


@pytest.fixture(scope="module")
def tokens(tiny_shards):
    counts, _ = data_folder.count_words(tiny_shards)
    tokenizer = clip_tokens.build_tokenizer(counts, 600)
    return clip_tokens.CLIPTokens(tokenizer, max_tokens=16, words_only=True)


def read(folder, vocabulary, tokens, epochs=range(1), **changes):
    options = {
        "image_size": 32,
        "batch_size": 8,
        "seed": 0,
        "shuffle_buffer": 64,
        **changes,
    }
    reading = Reading(folder=folder, epochs=epochs, **options)
    return contrastive_batches.training_batches(reading, vocabulary, tokens, 30)


def test_loss_by_hand():
    """Two pairs; of each choice the odds are e to 1 for the true one."""
    loss = losses.ContrastiveLoss()(DISTINCT[:2], np.eye(2, dtype="float32"))
    assert float(loss) == pytest.approx(np.log(1 + np.exp(-1)), rel=1e-6)


def test_loss_is_symmetric():
    """A column that draws everything costs the texts, a row the pictures."""
    logits = np.array([[2, 1], [5, 3]], "float32")
    rows = np.log([1 + np.exp(1 - 2), 1 + np.exp(5 - 3)])
    columns = np.log([1 + np.exp(5 - 2), 1 + np.exp(1 - 3)])
    expected = (rows + columns).mean() / 2
    loss = losses.ContrastiveLoss()
    assert float(loss(DISTINCT[:2], logits)) == pytest.approx(expected, rel=1e-6)
    assert float(loss(DISTINCT[:2], logits.T)) == pytest.approx(expected, rel=1e-6)


def test_equal_texts_are_no_negatives():
    """The first and third prompt are one: the logits between them count nothing."""
    token_ids = DISTINCT[[0, 1, 0]]
    logits = np.array([[2, 1, 7], [0, 3, 1], [9, 1, 2]], "float32")
    rows = np.log([1 + np.exp(1 - 2), 1 + np.exp(-3) + np.exp(-2), 1 + np.exp(1 - 2)])
    columns = np.log([1 + np.exp(-2), 1 + 2 * np.exp(-2), 1 + np.exp(1 - 2)])
    loss = losses.ContrastiveLoss()(token_ids, logits)
    assert float(loss) == pytest.approx((rows + columns).mean() / 2, rel=1e-6)


def test_accuracy_by_hand():
    accuracy = losses.ContrastiveAccuracy()
    accuracy.update_state(
        DISTINCT[[0, 1, 0]],
        # The first picture prefers an equal text: right. The second is wrong.
        np.array([[2, 1, 7], [5, 3, 1], [0, 1, 2]], "float32"),
    )
    assert float(accuracy.result()) == pytest.approx(2 / 3)


def test_batches_hold_what_the_tokenizer_says(tiny_shards, vocabulary, tokens):
    seen = set()
    for inputs, targets in read(tiny_shards, vocabulary, tokens):
        assert inputs["images"].shape == (8, 32, 32, 3)
        assert inputs["images"].dtype == tf.uint8 and targets.dtype == tf.int32
        np.testing.assert_array_equal(inputs["token_ids"], targets)
        seen |= {tuple(row[row > 0]) for row in targets.numpy()}
    colours = ("red", "green", "blue", "bright white")
    prompts = [
        f"A {colour} patch, {place}!"
        for colour in colours
        for place in ("left", "top", "middle")
    ]
    assert seen == {tuple(row[row > 0]) for row in tokens(prompts)}


def test_order_depends_on_seed_and_epoch(tiny_shards, vocabulary, tokens):
    def order(epochs, **changes):
        batches = read(tiny_shards, vocabulary, tokens, epochs, **changes)
        return [inputs["images"].numpy().sum() for inputs, _ in batches]

    both = order(range(2))
    assert len(both) == 24
    assert order(range(1, 2)) == both[12:] != both[:12]
    assert order(range(1), seed=1) != both[:12]


def test_words_outside_the_vocabulary_are_left_out(tokens):
    vocabulary = [*text.SPECIAL_TOKENS, "red", "patch"]
    to_tokens = contrastive_batches.gather_tokens(tokens, vocabulary, 30)
    example = {"words": tf.constant(["a", "red", "dog", "patch"])}
    expected = tokens(["red patch"])[0]
    np.testing.assert_array_equal(
        to_tokens(example)["token_ids"], expected[expected > 0]
    )


def test_spans_are_words_in_a_row():
    words = tf.constant(list("abcdefgh"))

    def cut(number):
        return contrastive_batches.cut_span({"words": words}, 0.5, [7, number])["words"]

    spans = [
        b"".join(span).decode()
        for span in tf.data.Dataset.range(2000).map(cut).as_numpy_iterator()
    ]
    assert all(span and span in "abcdefgh" for span in spans)
    for number in range(5):
        eager = cut(tf.constant(number, tf.int64)).numpy()
        assert b"".join(eager).decode() == spans[number]
    lengths = np.array([len(span) for span in spans])
    # Half are whole; of the others, length n has the share log_9((n + 1) / n).
    assert np.mean(lengths == 8) == pytest.approx(0.5 + 0.027, abs=0.03)
    assert np.mean(lengths == 1) == pytest.approx(0.158, abs=0.03)
    assert np.mean(lengths == 3) == pytest.approx(0.065, abs=0.02)


def test_a_prompt_without_words_has_no_span():
    example = {"words": tf.constant([], tf.string)}
    for output in checks.outputs_of(
        lambda example: contrastive_batches.cut_span(example, 1.0, [0, 0]), example
    ):
        assert output["words"].shape == (0,)


def small_clip(tokens):
    """A CLIP of few layers: most of a test's time goes into building graphs."""
    return keras_hub.models.CLIPBackbone(
        clip.HybridVisionEncoder((16, 32), 0, 1, 1, (32, 32, 3)),
        keras_hub.models.CLIPTextEncoder(
            tokens.tokenizer.vocabulary_size(), 32, 32, 1, 2, 32, max_sequence_length=16
        ),
        32,
    )


def train(tiny_shards, vocabulary, tokens, devices, epochs):
    keras.utils.set_random_seed(0)
    # Sums on one device: collectives of two strategies in one process get mixed up
    # (test_loop.py has the other).
    mirrored = tf.distribute.MirroredStrategy(
        devices, tf.distribute.ReductionToOneDevice()
    )
    with mirrored.scope():
        model = CLIPInterrogator(clip.describe(small_clip(tokens)))
        config = FitConfig(learning_rate=5e-3, warmup_steps=5, epochs=epochs)
        InterrogationTask.compile_for(model, config, steps_per_epoch=12)
    reading = Reading(folder=tiny_shards, image_size=32, batch_size=8)
    batches = read(tiny_shards, vocabulary, tokens, range(epochs))
    building.build_once(model, batches)
    history = model.fit(
        batches,
        validation_data=contrastive_batches.validation_batches(
            reading, vocabulary, tokens, max_words=30
        ),
        epochs=epochs,
        steps_per_epoch=12,
        shuffle=False,
        verbose=0,
    )
    return history.history


@pytest.mark.slow
def test_a_clip_learns(tiny_shards, vocabulary, tokens):
    """12 prompts of colours and places, by heart."""
    history = train(tiny_shards, vocabulary, tokens, ["CPU:0"], epochs=6)
    # Of eight, chance picks the right one in 0.125.
    assert history["val_accuracy"][-1] > 0.8
    assert history["val_loss"][-1] < history["val_loss"][0]


@pytest.mark.slow
def test_a_clip_learns_under_a_strategy(tiny_shards, vocabulary, tokens):
    """Each of two devices compares within its half of the batch."""
    devices = ["CPU:0", "CPU:1"]
    history = train(tiny_shards, vocabulary, tokens, devices, epochs=6)
    # Of four, chance picks the right one in 0.25.
    assert history["val_accuracy"][-1] > 0.8
