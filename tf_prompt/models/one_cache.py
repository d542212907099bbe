"""Language models whose keys and values KerasHub stores in one tensor."""

from keras import ops

from tf_prompt.models.language import LanguageCaptioner
from tf_prompt.models.portable_caches import portable_updates


class OneCacheCaptioner(LanguageCaptioner):
    """Decodes with one cache for all layers; the image comes before the prefix.

    A subclass defines `num_seen`, and all that `LanguageCaptioner` leaves to its
    subclasses except `step`.

    Args:
        **kwargs: arguments of `LanguageCaptioner`, which also documents inputs and
            outputs.
    """

    def num_seen(self, backbone) -> int:
        """Returns the number of tokens that stand for an image in a base."""
        raise NotImplementedError

    def step(self, token_ids, position, state, memory):
        before = self.num_seen(self.task().backbone)
        before += len(self.base["prefix_ids"]) - 1
        with portable_updates():
            logits, _, cache = self.task().call_with_cache(
                self.to_base(token_ids)[:, None], state[0], before + position
            )
        cache = ops.reshape(cache, (-1, *state[0].shape[1:]))
        return self.to_own_logits(logits[:, 0]), (cache,)
