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
        "number of beams; 1 decodes greedily",
        group="decoding",
    )
    length_penalty: float = option(
        1.0, "beam search: divide scores by the length to the power of X"
    )
    sample: bool = option(False, "sampling: draw tokens at random by probability")
    temperature: float = option(1.0, "sampling: values below 1 favour likely tokens")
    top_k: int = option(0, "sampling: draw from the N most likely tokens; 0 from all")
    top_p: float = option(
        1.0, "sampling: draw from the most likely tokens with total probability X"
    )
    repetition_penalty: float = option(
        1.0,
        "above 1: make words less likely that the prompt already has",
        group="decoding",
    )
    no_repeat_ngram: int = option(
        0,
        "never repeat a sequence of N words; 0 allows it",
        group="decoding",
    )
    min_words: int = option(
        0,
        "minimum number of words",
        group="decoding",
    )
    rerank: int = option(
        0,
        "decode N candidates per image, beams or samples, and keep the one most "
        "similar to the others (minimum Bayes risk by MiniLM cosine); 0 decodes one",
        group="decoding",
    )
    seed: int = option(
        0,
        "random seed",
        group="sampling",
    )
    xla: bool = option(
        False,
        "compile decoding with XLA, once per batch size; takes seconds, and is faster "
        "on some processors only",
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
