import keras
import numpy as np

from tf_prompt.models import presets
from tf_prompt.training import losses, optimizers


def variables():
    return [keras.Variable([1.0, 2.0], name=name) for name in ("low", "high")]


def step(optimizer, pair, gradient=(0.3, -0.4)):
    before = [np.array(v) for v in pair]
    optimizer.apply_gradients([(np.array(gradient, "f4"), v) for v in pair])
    return [np.array(v) - b for v, b in zip(pair, before, strict=True)]


def test_without_factors_it_is_adamw():
    ours, theirs = variables(), variables()
    optimizer = optimizers.LayerwiseAdamW(0.1, weight_decay=0.01)
    keras_own = keras.optimizers.AdamW(0.1, weight_decay=0.01)
    for _ in range(3):
        step(optimizer, ours)
        step(keras_own, theirs)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-6)


def test_a_factor_shortens_the_whole_step():
    pair = variables()
    optimizer = optimizers.LayerwiseAdamW(0.1, {pair[0].path: 0.25}, weight_decay=0.1)
    low, high = step(optimizer, pair)
    np.testing.assert_allclose(low, 0.25 * high, rtol=1e-3)


def test_frozen_variables_stand_still_until_their_time():
    pair = variables()
    optimizer = optimizers.LayerwiseAdamW(0.1, frozen_steps=2, frozen=[pair[0].path])
    moves = [step(optimizer, pair) for _ in range(3)]
    assert [bool(np.any(low)) for low, _ in moves] == [False, False, True]
    assert all(np.all(high) for _, high in moves)


def test_a_frozen_variable_starts_like_a_new_one():
    """Adam's moments are empty then; its bias correction must know."""
    late, fresh = variables(), variables()
    optimizer = optimizers.LayerwiseAdamW(0.1, frozen_steps=9, frozen=[late[0].path])
    optimizer.build(late)
    for _ in range(9):
        optimizer.apply_gradients([(np.array((0.3, -0.4), "f4"), late[1])])
    keras_own = keras.optimizers.AdamW(0.1, weight_decay=0.01)
    for gradient in ((0.3, -0.4), (0.1, 0.2), (-0.5, 0.1)):
        moved, _ = step(optimizer, late, gradient)
        np.testing.assert_allclose(moved, step(keras_own, fresh, gradient)[0], 1e-3)


def test_deeper_blocks_have_higher_rates():
    model = presets.build("vit_regressor_tiny")
    factors = optimizers.layer_factors(model.image_backbone, 0.5)
    of = {path.split("/")[1]: value for path, value in factors.items()}
    assert of["transformer_block_4"] == 0.5
    assert of["transformer_block_1"] == 0.5**4
    assert of["position_embedding"] == of["patch_embedding"] == 0.5**5
    # The norm after the last block goes with it.
    assert of["ln"] == 0.5


def test_cosine_distance():
    truth = np.array([[1.0, 0.0], [0.0, 2.0]], "f4")
    found = np.array([[3.0, 4.0], [0.0, 5.0]], "f4")
    # 1 - 3/5, and 0; squared errors (4 + 16) / 2 and 9 / 2.
    distance = losses.CosineDistance(reduction=None)(truth, found)
    np.testing.assert_allclose(distance, [0.4, 0.0], atol=1e-6)
    mixed = losses.build_loss("cosine_mse")
    np.testing.assert_allclose(mixed(truth, found), (0.4 + 0.1 + 0.045) / 2, rtol=1e-5)
    assert losses.CosineDistance.from_config(mixed.get_config()).mse_weight == 0.01
