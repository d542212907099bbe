"""The options of decoding, shared by all commands that write prompts."""

import dataclasses

from tf_prompt.options import option, require_not_negative, require_positive


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodingConfig:
    """How a captioner decodes; by default greedily.

    `python -m tf_prompt.predict --help` describes each field.

    Raises:
        ValueError: for values out of range, or options that exclude each other.
    """

    num_beams: int = option(
        1,
        "prompts kept at each step of beam search; 1 is greedy",
        group="writing",
    )
    length_penalty: float = option(
        1.0, "beam search: exponent of the length by which scores are divided"
    )
    sample: bool = option(False, "sampling: draw tokens by their probabilities")
    temperature: float = option(1.0, "sampling: below 1 favours likely tokens")
    top_k: int = option(0, "sampling: draw among the k most likely tokens; 0 among all")
    top_p: float = option(
        1.0, "sampling: draw among the most likely tokens with this total probability"
    )
    repetition_penalty: float = option(
        1.0,
        "divides the logits of words that occurred before",
        group="writing",
    )
    no_repeat_ngram: int = option(
        0,
        "length of word sequences that must not repeat; 0 allows all",
        group="writing",
    )
    min_words: int = option(
        0,
        "smallest number of words",
        group="writing",
    )
    rerank: int = option(
        0,
        "number of candidates per image, beams or samples, of which the one most "
        "similar to the others is kept (minimum Bayes risk, MiniLM cosine); 0 for none",
        group="writing",
    )
    seed: int = option(
        0,
        "random seed",
        group="sampling",
    )
    xla: bool = option(
        False,
        "compile decoding with XLA, once per batch size; pays off with batch size 1 "
        "and many images",
        group="speed",
    )

    def __post_init__(self):
        require_not_negative(self, "rerank")
        if self.rerank and self.num_beams > 1:
            raise ValueError(
                "num_beams must be left out with rerank, which sets their number. "
                f"Received: {self.num_beams}"
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
            raise ValueError(
                f"xla and sample exclude each other. Received: seed={self.seed}"
            )
        if self.sample and self.num_beams > 1:
            raise ValueError(
                f"sample needs num_beams=1. Received: num_beams={self.num_beams}"
            )
