"""AdamW that trains the parts of a model at different rates."""

import re

import keras
from keras import ops

from tf_prompt.training.batch_adamw import BatchAdamW

# A repeated part of a backbone: `transformer_block_3`, `stack1_block0`.
_BLOCK = re.compile(r"(?:stack\d+_)?(?:block|layer)_?\d+")


class LayerwiseAdamW(BatchAdamW):
    """Multiplies the learning rate of each variable by a factor of its own.

    Adam's step does not depend on the size of a gradient, hence the rate itself,
    and with it the weight decay, is multiplied.

    Args:
        learning_rate: float or schedule.
        factors: from a variable's path to its factor; 1 where it is absent.
        frozen_steps: int >= 0, steps in which variables of `frozen` stand still.
        frozen: paths of variables.
        weight_decay: float >= 0, decoupled.
        **kwargs: passed to `BatchAdamW`.

    Reference: Loshchilov and Hutter, 2017, https://arxiv.org/abs/1711.05101.
    """

    def __init__(
        self,
        learning_rate,
        factors=None,
        frozen_steps=0,
        frozen=(),
        weight_decay=0.01,
        **kwargs,
    ):
        # Keras' own decay takes one rate for all variables.
        super().__init__(learning_rate, weight_decay=0.0, **kwargs)
        self.factors = dict(factors or {})
        self.frozen_steps = frozen_steps
        self.frozen = frozenset(frozen)
        self.decay = weight_decay

    def build(self, variables):
        super().build(variables)
        # By index: under a strategy `update_step` sees variables without a path.
        self._paths = [variable.path for variable in variables]

    def update_step(self, gradient, variable, learning_rate):
        path = self._paths[self._get_variable_index(variable)]
        rate = ops.cast(learning_rate, variable.dtype) * self.factors.get(path, 1.0)
        if self.frozen_steps and path in self.frozen:
            moving = ops.cast(self.iterations >= self.frozen_steps, variable.dtype)
            rate = rate * moving
        self.assign_sub(variable, variable * self.decay * rate)
        super().update_step(gradient, variable, rate)

    def get_config(self):
        return {
            **super().get_config(),
            "weight_decay": self.decay,
            "factors": self.factors,
            "frozen_steps": self.frozen_steps,
            "frozen": sorted(self.frozen),
        }


def layer_factors(backbone: keras.Model, decay: float) -> dict[str, float]:
    """Gives deeper parts of a backbone higher rates.

    Args:
        backbone: model whose blocks are numbered in their names, in order.
        decay: float in (0, 1]. Factor of a block over that of the next; the last
            block has `decay`, what comes before the first block the least.

    Returns:
        From the path of each trainable variable to its factor.

    Reference: Bao et al., 2021, https://arxiv.org/abs/2106.08254, "layer-wise decay"
    in the appendix.
    """
    depths, blocks = {}, []
    for variable in backbone.trainable_variables:
        match = _BLOCK.search(variable.path)
        if match and match[0] not in blocks:
            blocks.append(match[0])
        depths[variable.path] = len(blocks)
    return {path: decay ** (len(blocks) + 1 - d) for path, d in depths.items()}
