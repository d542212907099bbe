import numpy as np
import pytest

from tf_prompt.training.losses import TokenAccuracy, TokenCrossentropy

# Two prompts, the second one word shorter; 4 tokens in the vocabulary.
TARGETS = np.array([[3, 2], [1, 0]])
PROBS = np.array(
    [[[0.1, 0.2, 0.3, 0.4], [0.1, 0.1, 0.7, 0.1]], [[0.2, 0.1, 0.6, 0.1], [1, 0, 0, 0]]]
)
LOGITS = np.log(np.maximum(PROBS, 1e-9)).astype("float32")


def test_loss_is_the_mean_over_words():
    expected = -np.log([0.4, 0.7, 0.1]).mean()
    assert float(TokenCrossentropy()(TARGETS, LOGITS)) == pytest.approx(expected)


def test_padding_never_counts():
    loss, accuracy = TokenCrossentropy(), TokenAccuracy()
    logits = LOGITS.copy()
    logits[1, 1] = [-50, 50, 0, 0]
    assert float(loss(TARGETS, logits)) == float(loss(TARGETS, LOGITS))
    accuracy.update_state(TARGETS, logits)
    assert float(accuracy.result()) == pytest.approx(2 / 3)


def test_accuracy_weighs_words_not_batches():
    accuracy = TokenAccuracy()
    accuracy.update_state(TARGETS, LOGITS)  # 2 of 3
    accuracy.update_state([[1, 0]], LOGITS[:1])  # 0 of 1
    assert float(accuracy.result()) == pytest.approx(2 / 4)


def test_float16_logits_give_a_float32_loss():
    loss = TokenCrossentropy()(TARGETS, LOGITS.astype("float16"))
    assert loss.dtype == "float32"
    assert np.isfinite(loss)
