"""Writes the model card of a run from the files in its folder."""

import inspect
import json
import pathlib
import string
from collections.abc import Iterable

from tf_prompt import files
from tf_prompt.data import text
from tf_prompt.evaluation.report import document, runs, scores, sections
from tf_prompt.evaluation.report.data_card import describe_data
from tf_prompt.evaluation.report.document import ABSENT
from tf_prompt.models import language_bases, presets
from tf_prompt.runs import folder as run_folder
from tf_prompt.runs.config import settings

REPOSITORY = "https://github.com/tf-prompt/tf_prompt"
NUM_EXAMPLES = 5
_TEMPLATE = pathlib.Path(__file__).with_name("model_card.md")
_COMMANDS = {
    "interrogate": "interrogate --run-dir {name} IMAGE...",
    "predict": "predict --run-dir {name} IMAGE...",
    "export": "export --run-dir {name} --output OUT",
    "submit": "submit --run-dir {name} --images IMAGES --output CSV",
}
_BASELINES = {
    "most_common": "most common training prompt",
    "nearest_neighbour": "prompt of the nearest training image",
    "random_training": "random training prompts",
    "shuffled": "true prompts of other images",
    "mean_embedding": "mean embedding of the training prompts",
}
_OPTIONS = (
    "batch_size",
    "learning_rate",
    "warmup_steps",
    "weight_decay",
    "clip_norm",
    "loss",
    "rotation_degrees",
    "flip",
    "erasing_rate",
    "backbone",
    "backbone_weights",
    "image_size",
    "head_epochs",
    "layer_decay",
    "ema",
    "one_image_per_prompt",
    "mixed_precision",
    "seed",
    "members",
    "set",
)
_TOY_LIMITS = (
    "- **It knows only the toy set**: drawn images, and the words of a small grammar. "
    "It shows that\n  the software works; it knows nothing about real images."
)
_DIFFUSIONDB = """\
@inproceedings{wang2023diffusiondb,
  title = {{DiffusionDB}: A Large-scale Prompt Gallery Dataset for Text-to-Image
           Generative Models},
  author = {Wang, Zijie J. and Montoya, Evan and Munechika, David and Yang, Haoyang and
            Hoover, Benjamin and Chau, Duen Horng},
  booktitle = {Proceedings of the 61st Annual Meeting of the Association for
               Computational Linguistics (Volume 1: Long Papers)},
  pages = {893--911},
  year = {2023},
  doi = {10.18653/v1/2023.acl-long.51},
}"""


def write_model_card(run_dir: str | pathlib.Path, path: str | pathlib.Path) -> None:
    """Writes a run's model card in Hugging Face's format: YAML metadata and Markdown.

    It states only what the run's folder holds; everything else is "not measured".
    Folders are given by name, without their path.

    Args:
        run_dir: folder of a run of `tf_prompt.fit`, preferably evaluated on `test`.
        path: the file, such as `README.md` beside a SavedModel; written atomically.

    Raises:
        FileNotFoundError: if there is no run, or the file's folder does not exist.
        ValueError: if a file of the run is damaged; the message names it.

    Reference:
        Mitchell et al., Model Cards for Model Reporting, FAT* 2019.
    """
    run_dir, path = pathlib.Path(run_dir), pathlib.Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"path must be a file in a folder that exists. Received: {path}"
        )
    runs.check_runs([run_dir], path)
    run = runs.read_run(run_dir, run_dir.resolve().name)
    files.write_whole(path, render_model_card(run).encode())


def render_model_card(run: runs.Run) -> str:
    """Renders a model card.

    Args:
        run: result of `evaluation.report.runs.read_run`.

    Returns:
        The text of the card.

    Raises:
        ValueError: for an unknown preset.
    """
    preset = run.config["preset"]
    facts, is_toy = presets.facts(preset), run.config.get("data") == "toy"
    template = string.Template(_TEMPLATE.read_text(encoding="utf-8"))
    return template.substitute(
        metadata=_describe_metadata(run, facts.task),
        name=run.name,
        summary=inspect.getdoc(presets.PRESETS[preset][0]).partition("\n")[0],
        repository=REPOSITORY,
        preset=preset,
        parts=_describe_parts(run),
        commands="\n".join(_list_commands(run.name, facts.verbs)),
        outputs=facts.outputs,
        data=_describe_data(run),
        text_rule=_describe_text(run),
        training=_describe_training(run),
        options=_list_options(run),
        versions=_list_versions(run),
        scores=_list_scores(run),
        examples=_show_examples(run),
        limits=_TOY_LIMITS if is_toy else _describe_language(run),
        licence=_describe_licence(run, is_toy),
        citation=_cite(is_toy),
    )


def _describe_metadata(run, task: str) -> str:
    """YAML whose values are written as JSON, a subset of YAML, so none can break it."""
    metadata = {
        "license": "other" if _find_base(run) else "apache-2.0",
        "language": ["en"],
        "library_name": "keras",
        "pipeline_tag": task,
        "tags": ["stable-diffusion", "prompts", "tf_prompt", run.config["preset"]],
    }
    measured = _measured(run)
    if measured:
        task = {"type": metadata["pipeline_tag"]}
        data = {
            "name": _short(run.config.get("data")),
            "type": "image",
            "split": "test",
        }
        metrics = [
            {"type": name, "name": _title(name), "value": round(value["score"], 4)}
            for name, value in measured.items()
        ]
        result = {"task": task, "dataset": data, "metrics": metrics}
        metadata["model-index"] = [{"name": run.name, "results": [result]}]
    return "\n".join(f"{key}: {json.dumps(value)}" for key, value in metadata.items())


def _measured(run) -> dict:
    found = (run.metrics or {}).get("metrics", {})
    return {name: v for name, v in found.items() if v["score"] is not None}


def _short(folder) -> str:
    """A folder's name without its path, which should stay private."""
    prefix, colon, rest = str(folder or ABSENT).rpartition("knn:")
    return prefix + colon + pathlib.PurePath(rest).name


def _title(name: str) -> str:
    return scores.TITLES.get(name, name.replace("_", " "))


def _table(header, rows: Iterable, num_text_columns: int) -> str:
    table = document.Table(tuple(header), tuple(rows), num_text_columns)
    return document.block_to_markdown(table)


def _describe_parts(run) -> str:
    arguments = dict(presets.PRESETS[run.config["preset"]][1])
    if "base" in arguments:
        arguments["base"] = _short(_find_base(run) or "trained from scratch")
        if _find_base(run):
            del arguments["vocab_size"]
    arguments |= settings(run.config.get("set") or ())
    for name in ("encoder", "backbone", "clip"):
        if name in arguments and run.config.get("backbone"):
            arguments[name] = _short(run.config["backbone"])
    if run.config.get("image_size"):
        arguments["image_size"] = run.config["image_size"]
    vocabulary = run.folder / run_folder.VOCABULARY
    if "vocab_size" in arguments and vocabulary.is_file():
        # The preset's value is only an upper limit.
        arguments["vocab_size"] = len(text.read_vocabulary(vocabulary))
    listed = ", ".join(f"{name.replace('_', ' ')} {v}" for name, v in arguments.items())
    if run.parameters is None:
        return f"Built with: {listed}. Parameters: {ABSENT}."
    total, trainable = run.parameters
    return (
        f"{total:,} parameters, {trainable:,} of them trainable. Built with: {listed}."
    )


def _list_commands(name: str, verbs: Iterable[str]) -> list[str]:
    commands = (_COMMANDS[verb].format(name=name) for verb in verbs)
    return [f"python -m tf_prompt.{command}" for command in commands]


def _describe_data(run) -> str:
    facts = describe_data(str(run.config.get("data")))
    facts = {"name": _short(run.config.get("data")), **facts}
    facts.pop("folder")
    return _table(("fact", "this data"), facts.items(), 2)


def _describe_text(run) -> str:
    lead = "No prompt is in two splits."
    if run.config.get("tokens") == "subwords":
        case = ", in lower case" if run.config.get("fold_case") else ""
        return f"{lead} Prompts are learned as they were written{case}."
    words = run.config.get("max_words", ABSENT)
    return (
        f"{lead} Prompts are normalised: lower case, words without digits, at most "
        f"{words}."
    )


def _describe_training(run) -> str:
    best = run.best_epoch
    if best is None:
        return f"Epochs: {ABSENT}."
    losses = f"validation loss {best['val_loss']:.3f}"
    time = ""
    if run.seconds is not None:
        time = f" in {sections.format_seconds(run.seconds)} on its machine"
    return (
        f"{len(run.history)} epochs{time}, AdamW, linear warm-up, then cosine decay. "
        f"Epoch {best['epoch']} was kept for its {losses}."
    )


def _list_options(run) -> str:
    rows = []
    for name in _OPTIONS:
        value = run.config.get(name)
        if name == "members":
            value = [_short(member) for member in value or ()]
        if value in (None, [], ""):
            continue
        if isinstance(value, list):
            value = " ".join(map(str, value))
        if name.startswith("backbone"):
            value = _short(value)
        rows.append((name.replace("_", " "), str(value)))
    return _table(("option", "value"), rows, 2)


def _list_versions(run) -> str:
    names = {"package_version": "tf_prompt", "git_commit": "commit"}
    names |= {"tensorflow_version": "TensorFlow", "keras_version": "Keras"}
    found = {key: str(run.config.get(key) or "not recorded") for key in names}
    found["git_commit"] = found["git_commit"][:12]
    return f"Trained with {', '.join(f'{n} {found[key]}' for key, n in names.items())}."


def _list_scores(run) -> str:
    measured = _measured(run)
    if not measured:
        return f"{ABSENT.capitalize()}: run `python -m tf_prompt.evaluate` first."
    baselines = run.metrics["baselines"]
    header = ("metric", "this model, with 95 % interval")
    header += tuple(_BASELINES.get(name, name) for name in baselines)
    rows = []
    for name, value in measured.items():
        cells = [_number(name, value["score"])]
        if value["low"] is not None:
            low, high = (_number(name, value[end]) for end in ("low", "high"))
            cells[0] += f" [{low}, {high}]"
        for found in baselines.values():
            other = found.get(name, {"score": None})["score"]
            cells.append(ABSENT if other is None else _number(name, other))
        rows.append((_title(name), *cells))
    notes = (f"{_title(name)}: {v['signature']}" for name, v in measured.items())
    count = f"{run.metrics['examples']:,} examples of the test split."
    points = document.block_to_markdown(document.Points(tuple(notes)))
    return f"{count}\n\n{_table(header, rows, 1)}\n\n{points}"


def _number(name: str, value: float) -> str:
    return f"{value:.3f}" if name == "cosine" else f"{value:.1f}"


def _show_examples(run) -> str:
    # Several images often share a prompt: show it once.
    distinct = {row["reference"]: row for row in reversed(run.predictions)}
    chosen = list(reversed(distinct.values()))[:NUM_EXAMPLES]
    if not chosen:
        return f"Examples: {ABSENT}."
    rows = [(row["reference"], row["prediction"]) for row in chosen]
    lead = "The first test prompts, not selected by quality:"
    return f"{lead}\n\n{_table(('true', 'predicted'), rows, 2)}"


def _describe_language(run) -> str:
    if run.config.get("tokens") == "subwords":
        count = run.config.get("max_subwords", ABSENT)
        return f"- It has read at most {count} subwords of each prompt."
    words = run.config.get("max_words", ABSENT)
    return f"- It knows only the first {words} words of each of its training prompts."


def _describe_licence(run, is_toy: bool) -> str:
    data = "The toy set is drawn by the project and falls under the same licence."
    if not is_toy:
        data = (
            "The licence of the training data applies too: DiffusionDB is CC0-1.0. A "
            "pretrained backbone has its own licence."
        )
    if base := _find_base(run):
        return (
            f"Code: Apache-2.0. The weights adapt {_short(base)}, whose licence holds "
            f"for them. {data}"
        )
    return f"Code and weights: Apache-2.0. {data}"


def _find_base(run) -> str | None:
    """The pretrained language model that a run adapts."""
    given = run.config.get("backbone_weights")
    return language_bases.find_source(run.config["preset"], given)


def _cite(is_toy: bool) -> str:
    own = (
        "@software{tf_prompt,\n  title = {tf\\_prompt: From images made by Stable "
        f"Diffusion back to their prompts}},\n  url = {{{REPOSITORY}}},\n}}"
    )
    return own if is_toy else f"{own}\n\n{_DIFFUSIONDB}"
