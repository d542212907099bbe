"""The options of an interrogation, shared by every command that asks a CLIP."""

import dataclasses

from tf_prompt import files
from tf_prompt.interrogation import presets, table_sources
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """Which model is asked, about which phrases."""

    run_dir: str | None = option(
        None,
        "folder of a CLIP's run of tf_prompt.fit, with its phrases",
        group="model",
    )
    clip: str | None = option(
        None,
        "instead: a preset of --list, a preset's folder, or a folder in Hugging Face "
        f"format; {presets.DEFAULT} if neither is given",
        group="model",
    )
    tables: tuple[str, ...] | None = option(
        None,
        f"tables that ship, some of {', '.join(table_sources.NAMES)}; none of them "
        "with a run, else those of the mode, if not given; with no name, none",
        metavar="NAME",
        group="model",
    )
    phrases: tuple[str, ...] = option(
        (),
        "more: files of one phrase a line, each a table of the file's name, folders of "
        f"them, or {table_sources.PACKAGE}, the lists of that package",
        metavar="FILE",
        group="model",
    )
    captioner: str | None = option(
        None,
        "folder of a captioner's run, whose prompts the modes begin with",
        group="model",
    )
    cache_dir: str | None = option(
        None,
        "folder for embeddings of phrases; in the run's folder, else in the user's "
        "cache, if not given",
        group="model",
    )
    half: bool | None = option(
        None,
        "compute in half precision; where a GPU is that does so faster, if not given",
        group="speed",
    )

    def __post_init__(self):
        if self.run_dir is not None and self.clip is not None:
            raise ValueError(
                "one of --run-dir and --clip may be given. "
                f"Received: run_dir={self.run_dir}, clip={self.clip}"
            )
        if self.run_dir is not None and self.half is not None:
            raise ValueError(f"half goes with --clip. Received: {self.run_dir}")
        table_sources.check_names(self.tables or ())


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableConfig:
    """What is done in place of interrogating."""

    list: bool = option(
        False,
        "list the presets of --clip, with parameters, download, memory and width",
        group="other uses",
    )
    make_tables: str | None = option(
        None,
        "make tables for --phrases of a file of prompts: a CSV with a column prompt, "
        "or a .txt of one prompt a line",
        metavar="FILE",
        group="other uses",
    )
    output: str | None = option(
        None,
        "with --make-tables: folder for them",
        group="other uses",
    )
    min_count: int = option(
        10,
        "with --make-tables: prompts that a phrase must be in",
        group="other uses",
    )
    force: bool = option(False, files.FORCE_HELP, group="other uses")

    def __post_init__(self):
        require_positive(self, "min_count")
        if (self.make_tables is None) != (self.output is None):
            raise ValueError(
                "make_tables goes with --output. Received: "
                f"make_tables={self.make_tables}, output={self.output}"
            )
