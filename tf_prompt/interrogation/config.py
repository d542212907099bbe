"""The options of interrogation, shared by all commands that use a CLIP."""

import dataclasses

from tf_prompt import files
from tf_prompt.interrogation import presets, table_sources
from tf_prompt.options import option, require_not_negative, require_positive

MODES = ("fast", "classic", "best", "negative")


@dataclasses.dataclass(frozen=True, kw_only=True)
class InterrogationConfig:
    """How a prompt is built from phrases.

    The modes in detail: `fast`: the caption and the best phrases of all tables.
    `classic`: the caption, then the best medium, artist, movement and three flavours;
    without a caption, the best subject and setting come first. `best`: a chain that
    grows by the phrase that raises the similarity most, as long as one does; without a
    caption it starts with the best subject. `negative`: the phrases least similar to
    the image. In `fast` and `negative` the prompt has `top` phrases.
    """

    mode: str = option(
        "best",
        "fast: the best phrases; classic: the best medium, artist, movement and "
        "flavours; best: a chain that grows while the similarity rises; negative: the "
        "least similar phrases",
        choices=list(MODES),
        group="prompt",
    )
    top: int = option(
        5,
        "number of phrases to show per table",
        group="prompt",
    )
    candidates: int = option(
        8,
        "mode best: number of phrases per table to try",
        group="prompt",
    )
    max_phrases: int = option(
        12,
        "mode best: maximum number of phrases in a prompt",
        group="prompt",
    )
    min_gain: float = option(
        0.01,
        "mode best: minimum gain in similarity for which a phrase is added",
        group="prompt",
    )

    def __post_init__(self):
        if self.mode not in MODES:
            raise ValueError(
                f"mode must be one of {', '.join(MODES)}. Received: {self.mode}"
            )
        require_not_negative(self, "min_gain")
        require_positive(self, "top", "candidates", "max_phrases")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """Which model to use, and which phrases."""

    run_dir: str | None = option(
        None,
        "folder of the run of a CLIP interrogator, which has phrases of its own",
        metavar="DIR",
        group="model",
    )
    clip: str | None = option(
        None,
        "without --run-dir: a preset of --list, a preset's folder, or a folder in "
        f"Hugging Face format (default: {presets.DEFAULT})",
        metavar="PRESET",
        group="model",
    )
    tables: tuple[str, ...] | None = option(
        None,
        f"built-in tables, some of {', '.join(table_sources.NAMES)}; none without a "
        "name (default: those of the mode, or none with --run-dir)",
        metavar="NAME",
        group="model",
    )
    phrases: tuple[str, ...] = option(
        (),
        "more phrases: files with one phrase per line, each a table named after the "
        f"file, folders of them, or {table_sources.PACKAGE}, the lists of that package",
        metavar="FILE",
        group="model",
    )
    captioner: str | None = option(
        None,
        "folder of a captioner's run, or preset of a pretrained language model; "
        "prompts then start with its captions",
        metavar="RUN|PRESET",
        group="model",
    )
    cache_dir: str | None = option(
        None,
        "folder for embeddings of phrases (default: in the run's folder, or in the "
        "user's cache)",
        metavar="DIR",
        group="model",
    )
    half: bool | None = option(
        None,
        "compute in half precision (default: on GPUs where that is faster)",
        group="speed",
    )

    def __post_init__(self):
        if self.run_dir is not None and self.clip is not None:
            raise ValueError(
                "one of --run-dir and --clip may be given. "
                f"Received: run_dir={self.run_dir}, clip={self.clip}"
            )
        if self.run_dir is not None and self.half is not None:
            raise ValueError(f"half needs --clip. Received: {self.run_dir}")
        table_sources.check_names(self.tables or ())


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableConfig:
    """Other uses of the command: lists presets, builds tables."""

    list: bool = option(
        False,
        "list the presets of --clip, with parameters, download, memory and width",
        group="other uses",
    )
    make_tables: str | None = option(
        None,
        "make tables for --phrases from a file of prompts: a CSV with a column prompt, "
        "or a .txt file with one prompt per line",
        metavar="FILE",
        group="other uses",
    )
    output: str | None = option(
        None,
        "with --make-tables: folder for the tables",
        metavar="DIR",
        group="other uses",
    )
    min_count: int = option(
        10,
        "with --make-tables: keep phrases that occur in at least N prompts",
        group="other uses",
    )
    force: bool = option(False, files.FORCE_HELP, group="other uses")

    def __post_init__(self):
        require_positive(self, "min_count")
        if (self.make_tables is None) != (self.output is None):
            raise ValueError(
                "make_tables and output must be given together. Received: "
                f"make_tables={self.make_tables}, output={self.output}"
            )
