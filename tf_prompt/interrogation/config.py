"""The options of an interrogation, shared by every command that asks a CLIP."""

import dataclasses

from tf_prompt.options import option, require_not_negative, require_positive

MODES = ("fast", "classic", "best", "negative")


@dataclasses.dataclass(frozen=True, kw_only=True)
class InterrogationConfig:
    """How phrases become a prompt.

    In detail, the modes: `fast`: the caption and the phrases that score best,
    whatever their table. `classic`: the caption, then the best medium, artist,
    movement and three flavours; instead of an absent caption the best subject and
    setting. `best`: a chain that grows by the phrase that raises the similarity most,
    as long as one does; instead of an absent caption it begins with the best subject.
    `negative`: the phrases least like the picture. In `fast` and `negative` the
    prompt has `top` phrases.
    """

    mode: str = option(
        "best",
        "fast: best phrases at once; classic: best medium, artist, movement and "
        "flavours; best: a chain that grows while the similarity rises; negative: "
        "what is least like the picture",
        choices=list(MODES),
        group="prompt",
    )
    top: int = option(
        5,
        "phrases shown of each table",
        group="prompt",
    )
    candidates: int = option(
        8,
        "phrases of each table that the mode best tries",
        group="prompt",
    )
    max_phrases: int = option(
        12,
        "phrases at most in a prompt of the mode best",
        group="prompt",
    )
    min_gain: float = option(
        0.01,
        "similarity that a phrase of the mode best must add to be kept",
        group="prompt",
    )

    def __post_init__(self):
        if self.mode not in MODES:
            raise ValueError(
                f"mode must be one of {', '.join(MODES)}. Received: {self.mode}"
            )
        require_not_negative(self, "min_gain")
        require_positive(self, "top", "candidates", "max_phrases")
