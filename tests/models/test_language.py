"""Language models that see: what they learn, how they decode, what their files hold."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import language_families as families
from tf_prompt.data.text import END_ID, PAD_ID, SPECIAL_TOKENS, START_ID
from tf_prompt.decoding.search import Search
from tf_prompt.models import language, presets
from tf_prompt.runs import folder as run_folder
from tf_prompt.runs.model_file import load_model_file
from tf_prompt.training.losses import TokenAccuracy, WordLoss

VOCAB_SIZE, MAX_TOKENS = 40, 7


def build(name, **options):
    arguments = {"vocab_size": VOCAB_SIZE, "max_tokens": MAX_TOKENS}
    return presets.build(name, **families.overrides(name), **arguments, **options)


def pose():
    """Eight noisy images and their prompts, of different lengths."""
    rng = np.random.default_rng(0)
    side = families.SIZE
    images = rng.integers(0, 256, (8, side, side, 3)).astype("uint8")
    words = rng.integers(4, VOCAB_SIZE, (8, MAX_TOKENS - 1)).astype("int32")
    words[3, 4:] = words[5, 2:] = PAD_ID
    return images, words


def batch_of(images, words):
    lengths = (words != PAD_ID).sum(axis=1)
    targets = np.pad(words, ((0, 0), (0, 1)))
    targets[np.arange(len(words)), lengths] = END_ID
    token_ids = np.pad(words, ((0, 0), (1, 0)), constant_values=START_ID)
    inputs = {"images": images, "token_ids": token_ids, "target_ids": targets}
    mask = np.float32(targets != PAD_ID)
    return inputs, targets, mask / mask.mean()


def learn(model, batch, epochs):
    model.compile(
        keras.optimizers.Adam(1e-2),
        WordLoss(),
        metrics=[TokenAccuracy()],
        jit_compile=False,
    )
    inputs, targets, weights = batch
    model.fit(inputs, targets, 8, epochs, verbose=0, sample_weight=weights)


def write(model, images):
    search = Search(model.step, END_ID, model.max_tokens)

    @tf.function(autograph=False)
    def run(images):
        state, memory = model.encode(images)
        return search.greedy(state, memory, tf.fill([tf.shape(images)[0]], START_ID))[0]

    return run(images).numpy()


# Qwen's recurrence takes a minute to trace.
LONG = {"qwen3_5_tiny": [pytest.mark.slow, pytest.mark.long]}
ALL = [
    pytest.param(name, marks=LONG.get(name, pytest.mark.slow))
    for name in families.NAMES
]


@pytest.fixture(scope="module", params=ALL)
def learned(request):
    model = build(request.param)
    learn(model, batch_of(*pose()), 150)
    return model


def test_it_learns_each_prompt_by_heart_and_then_the_permuted_ones(learned):
    images, words = pose()
    written = write(learned, images)
    expected = np.where(batch_of(images, words)[1] == PAD_ID, END_ID, 0)
    expected += batch_of(images, words)[1]
    np.testing.assert_array_equal(written, expected)
    # Of permuted images the prompts are permuted: they come from the image.
    order = np.arange(8)[::-1]
    np.testing.assert_array_equal(write(learned, images[order]), expected[order])


def test_steps_give_the_logits_of_the_call(learned):
    images, words = pose()
    inputs = batch_of(images, words)[0]
    del inputs["target_ids"]
    expected = np.asarray(learned(inputs))
    assert expected.shape == (8, MAX_TOKENS, VOCAB_SIZE)
    state, memory = learned.encode(images)
    for position in range(3):
        token_ids = inputs["token_ids"][:, position]
        logits, state = learned.step(token_ids, position, state, memory)
        whole = words[:, 2] != PAD_ID
        np.testing.assert_allclose(logits[whole], expected[whole, position], atol=1e-4)


def test_loss_is_of_the_answer_alone(learned):
    images, words = pose()
    inputs, targets, _ = batch_of(images, words)
    found = np.asarray(learned(inputs))
    logits = learned({k: v for k, v in inputs.items() if k != "target_ids"})
    # Special tokens are none of the base's: its end is.
    probs = tf.nn.log_softmax(logits[..., END_ID:])
    own = tf.gather(probs, np.maximum(targets - END_ID, 0), batch_dims=2).numpy()
    real = targets != PAD_ID
    base = np.exp(-found[..., 0][real]).sum()
    assert found.shape == (8, MAX_TOKENS, 2)
    np.testing.assert_allclose(base, np.exp(own[real]).sum(), rtol=0.05)


def test_it_writes_what_keras_hub_generates(learned):
    if "pixel_values" in learned.task().backbone.input:
        pytest.skip("KerasHub 0.32 reads the prefix's last token of Qwen 3.5 twice")
    images, _ = pose()
    prefix = learned.base["prefix_ids"]
    length = len(prefix) + learned.max_tokens
    token_ids = np.zeros((8, length), "int32")
    token_ids[:, : len(prefix)] = prefix
    mask = np.arange(length)[None].repeat(8, 0) < len(prefix)
    inputs = {
        "images": learned.scale(images),
        "token_ids": token_ids,
        "padding_mask": mask,
    }
    if "vision_mask" in learned.task().backbone.input:
        is_image = token_ids == learned.base["image_id"]
        places = np.flatnonzero(is_image[0]).astype("int32")
        inputs["images"] = inputs["images"][:, None]
        inputs["vision_mask"] = is_image
        inputs["vision_indices"] = places[None].repeat(8, 0)
    end = learned.base["end_id"]
    found = learned.task().generate(inputs, stop_token_ids=(end,))
    theirs = np.where(found["padding_mask"], found["token_ids"], end)
    ours = np.asarray(learned.to_base(write(learned, images)))
    np.testing.assert_array_equal(ours, theirs[:, len(prefix) :])


def test_its_file_holds_it_whole(learned, tmp_path):
    path = tmp_path / "model.keras"
    run_folder.save_for_inference(learned, path)
    images, words = pose()
    inputs = batch_of(images, words)[0]
    np.testing.assert_array_equal(load_model_file(path)(inputs), learned(inputs))


@pytest.mark.parametrize("name", [families.NAMES[0], *ALL[1:]])
def test_low_rank_trains_nothing_else(name):
    model = build(name, lora_rank=2, train_vision=False)
    names = {weight.name for weight in model.trainable_weights}
    assert names == {"lora_kernel_a", "lora_kernel_b"}
    with_vision = build(name, lora_rank=2, train_vision=True)
    assert len(with_vision.trainable_weights) > len(model.trainable_weights)
    frozen = [w.numpy() for w in model.non_trainable_weights]
    learn(model, batch_of(*pose()), 1)
    for before, weight in zip(frozen, model.non_trainable_weights, strict=True):
        np.testing.assert_array_equal(before, weight)
    assert any(np.any(w) for w in model.trainable_weights if w.name == "lora_kernel_b")
    # Merged, they give the same.
    inputs = batch_of(*pose())[0]
    before = model(inputs)
    model.merge()
    assert not any(
        np.any(w) for w in model.trainable_weights if w.name == "lora_kernel_b"
    )
    np.testing.assert_allclose(model(inputs), before, atol=1e-5)


def test_a_recurrence_reads_each_token_once():
    """Of Qwen 3.5: where decoding begins, and positions after the image."""
    model = build("qwen3_5_tiny")
    images, words = pose()
    inputs = batch_of(images, words)[0]
    del inputs["target_ids"]
    expected = np.asarray(model(inputs))
    state, memory = model.encode(images)
    for position in range(2):
        token_ids = inputs["token_ids"][:, position]
        logits, state = model.step(token_ids, position, state, memory)
        np.testing.assert_allclose(logits, expected[:, position], atol=1e-5)
    # Four image tokens at 1, in two rows; the text goes on at 3.
    text, _, height, width = np.asarray(model._positions(1)[0, :, :7])
    np.testing.assert_array_equal(text, [0, 1, 1, 1, 1, 3, 4])
    np.testing.assert_array_equal(height, [0, 1, 1, 2, 2, 3, 4])
    np.testing.assert_array_equal(width, [0, 1, 2, 1, 2, 3, 4])


def test_special_tokens_are_those_of_our_vocabularies():
    assert len(SPECIAL_TOKENS) == language.NUM_SPECIAL
    with pytest.raises(ValueError, match="`lora_rank` must not be negative"):
        build("paligemma_tiny", lora_rank=-1)
