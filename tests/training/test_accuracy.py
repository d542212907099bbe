import numpy as np
import pytest

from tf_prompt.training.losses import TokenAccuracy

# Two prompts, the second one word shorter; loss and hit of each word.
TARGETS = np.array([[3, 2], [1, 0]])
SCORED = np.array([[[0.1, 1], [0.2, 1]], [[3, 0], [0.1, 1]]], "f4")


def test_padding_never_counts():
    accuracy = TokenAccuracy()
    accuracy.update_state(TARGETS, SCORED)
    assert float(accuracy.result()) == pytest.approx(2 / 3)


def test_words_weigh_the_same_in_every_batch():
    accuracy = TokenAccuracy()
    accuracy.update_state(TARGETS, SCORED)  # 2 of 3
    accuracy.update_state([[1, 0]], SCORED[1:])  # 0 of 1
    assert float(accuracy.result()) == pytest.approx(2 / 4)
