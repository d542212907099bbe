import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import checks
from tf_prompt.models.ensemble import Ensemble

MEMBERS = ("clip", "vit")


def draw(members=2, dim=6, batch=5):
    return np.random.default_rng(0).normal(size=(batch, members, dim)).astype("float32")


@pytest.mark.parametrize("stacking", [False, True])
def test_model_contract(stacking, tmp_path):
    model = Ensemble(MEMBERS, (0.25, 0.75), embedding_dim=6, stacking=stacking)
    checks.check_model(model, draw(), tmp_path)


@pytest.mark.parametrize("stacking", [False, True])
def test_fitted_values_survive_saving(stacking, tmp_path):
    model = Ensemble(MEMBERS, embedding_dim=6, stacking=stacking)
    before = model(draw())
    if stacking:
        model.set_stacking(np.eye(12)[:, 3:9], np.arange(6))
    else:
        model.set_mixing([0.9, 0.1])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(draw()), model(draw()), atol=1e-6)
    assert np.abs(loaded(draw()) - before).max() > 1e-2


@pytest.mark.parametrize("stacking", [False, True])
def test_report_s_mean_by_hand(stacking):
    """Unit vectors (1, 0) and (0, 1) at 0.25 and 0.75 give (1, 3) / sqrt(10)."""
    model = Ensemble(MEMBERS, (0.25, 0.75), embedding_dim=2, stacking=stacking)
    output = model(np.array([[[5.0, 0.0], [0.0, 0.1]]]))
    np.testing.assert_allclose(output, [[10**-0.5, 3 * 10**-0.5]], atol=1e-6)


def test_without_normalising_long_vectors_count_more():
    """0.5 x (6, 0) + 0.5 x (0, 8) points along (3, 4)."""
    model = Ensemble(MEMBERS, embedding_dim=2, normalise=False)
    output = model(np.array([[[6.0, 0.0], [0.0, 8.0]]]))
    np.testing.assert_allclose(output, [[0.6, 0.8]], atol=1e-6)


def test_stacking_by_hand():
    """Members (1, 0), (0, 1): row 1 of the first block, row 2 of the second, bias."""
    model = Ensemble(MEMBERS, embedding_dim=2, stacking=True)
    kernel = np.array([[2.0, 0.0], [9.0, 9.0], [9.0, 9.0], [0.0, 3.0]])
    model.set_stacking(kernel, np.array([1.0, 1.0]))
    output = model(np.array([[[1.0, 0.0], [0.0, 1.0]]]))
    np.testing.assert_allclose(output, [[0.6, 0.8]], atol=1e-6)


def test_output_has_unit_length_in_float16_and_for_short_vectors():
    for dtype in ("float32", "mixed_float16"):
        model = Ensemble(MEMBERS, embedding_dim=6, dtype=dtype)
        output = np.asarray(model(1e-3 * draw()), np.float32)
        np.testing.assert_allclose(np.linalg.norm(output, axis=1), 1, atol=2e-3)


def test_gradient_steps_keep_the_mean_convex():
    model = Ensemble(MEMBERS, embedding_dim=2)
    model.mixing.assign([-0.5, 0.5])
    output = model(np.array([[[1.0, 0.0], [0.0, 1.0]]]))
    np.testing.assert_allclose(output, [[0, 1]], atol=1e-6)


def test_zeros_and_opposites_give_no_nan():
    model = Ensemble(MEMBERS, embedding_dim=2)
    output = model(np.array([[[0.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [-1.0, 0.0]]]))
    assert np.isfinite(output).all()


def test_runs_in_a_graph_of_any_batch():
    model = Ensemble(MEMBERS, embedding_dim=6)
    graph = tf.function(model, [tf.TensorSpec((None, 2, 6))], autograph=False)
    np.testing.assert_allclose(graph(draw()), model(draw()), atol=1e-6)


@pytest.mark.parametrize("weights", [(0.5,), (1.5, -0.5), (0.5, 0.6), (1.0, np.nan)])
def test_bad_weights_are_refused(weights):
    with pytest.raises(ValueError, match="must be 2 numbers.*Received"):
        Ensemble(MEMBERS, weights)


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="members"):
        Ensemble(())
    with pytest.raises(ValueError, match="stacking=True"):
        Ensemble(MEMBERS).set_stacking(np.zeros((768, 384)), np.zeros(384))
    with pytest.raises(ValueError, match="stacking=False"):
        Ensemble(MEMBERS, stacking=True).set_mixing([0.5, 0.5])
    with pytest.raises(ValueError, match=r"Received: \(4, 2\)"):
        Ensemble(MEMBERS, stacking=True).set_stacking(np.zeros((4, 2)), np.zeros(2))
