"""The options of writing prompts, shared by every command that writes some."""

import dataclasses

from tf_prompt.options import option, require_not_negative, require_positive


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodingConfig:
    """How prompts are written; by default the likeliest token at each step."""

    num_beams: int = option(
        1,
        "prompts kept at each step of beam search; 1 is greedy",
        group="writing",
    )
    length_penalty: float = option(
        1.0, "beam search: power of the length that a score is divided by"
    )
    sample: bool = option(False, "sampling: draw tokens by their probabilities")
    temperature: float = option(1.0, "sampling: below 1 prefers likely tokens more")
    top_k: int = option(0, "sampling: draw among so many tokens; 0 among all")
    top_p: float = option(1.0, "sampling: draw among the likeliest that sum to this")
    repetition_penalty: float = option(
        1.0,
        "divides the logits of words written before",
        group="writing",
    )
    no_repeat_ngram: int = option(
        0,
        "words in a row that never come twice; 0 lets them",
        group="writing",
    )
    min_words: int = option(
        0,
        "words before a prompt may end",
        group="writing",
    )
    rerank: int = option(
        0,
        "prompts written for a picture, beams or samples, of which the one most like "
        "all others is kept (minimum Bayes risk, MiniLM cosine); 0 for none",
        group="writing",
    )
    seed: int = option(
        0,
        "of sampling",
        group="sampling",
    )
    xla: bool = option(
        False,
        "compile the writing of words with XLA, once for each number of images "
        "written about at once; of use with one image at a time and many images",
        group="speed",
    )

    def __post_init__(self):
        require_not_negative(self, "rerank")
        if self.rerank and self.num_beams > 1:
            raise ValueError(
                "num_beams must be left out with rerank, which says how many there "
                f"are. Received: {self.num_beams}"
            )
        require_positive(self, "num_beams", "temperature", "top_p")
        require_not_negative(self, "top_k", "no_repeat_ngram", "min_words")
        if self.top_p > 1:
            raise ValueError(f"top_p must be at most 1. Received: {self.top_p}")
        if self.repetition_penalty < 1:
            raise ValueError(
                "repetition_penalty must be at least 1. "
                f"Received: {self.repetition_penalty}"
            )
        if self.sample and self.xla:
            # TensorFlow and XLA draw different numbers from the same seed.
            raise ValueError(f"xla goes without sample. Received: seed={self.seed}")
        if self.sample and self.num_beams > 1:
            raise ValueError(
                f"sample goes with one beam. Received: num_beams={self.num_beams}"
            )
