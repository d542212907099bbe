"""Writes the prompts of a split and measures them beside the baselines."""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf
import tqdm

from tf_prompt import baselines, gallery, gallery_attention, rerank
from tf_prompt.attention_strip import WordAttention
from tf_prompt.data import dataset
from tf_prompt.decoding_config import DecodingConfig
from tf_prompt.images import encode_jpeg
from tf_prompt.metrics import bertscore, cosine, health, meteor_java
from tf_prompt.metrics.score import score
from tf_prompt.shares import write_rows
from tf_prompt.training import run_folder
from tf_prompt.whole_files import write_json
from tf_prompt.workers import Workers

# 9 MB as one page; it loads in half a second.
MAX_PICTURES = 500
# BLEU's interval on 384 examples of the toy set is 5 points wide; on 100, twice that.
FEW_EXAMPLES = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """What an evaluation measures, on what, and by whom.

    Args:
        split: one of `split.SPLITS`.
        data: `toy` or a folder of shards; None takes the run's own.
        metrics: names of `metrics.score.ALL_METRICS`.
        batch_size: images at once.
        limit: examples at most; None takes all.
        neighbours: training images that the nearest-neighbour baseline searches.
        decoding: how to write; kept in `predictions.json` beside the metrics.
        java_meteor: computes METEOR, and is closed then; None takes NLTK's.
        workers: processes that write the prompts together, see `shares.write_rows`;
            the chief measures them. None is this one alone.
    """

    split: str = "test"
    data: str | None = None
    metrics: Sequence[str] = ("bleu", "meteor", "cosine")
    batch_size: int = 64
    limit: int | None = None
    neighbours: int = 10000
    decoding: DecodingConfig = DecodingConfig()  # noqa: RUF009  frozen
    java_meteor: meteor_java.JavaMeteor | None = None
    workers: Workers | None = None


def evaluate_run(
    run_dir: str | pathlib.Path, **options
) -> tuple[dict | None, list[dict]]:
    """Measures the best model of a run, and writes the result into its folder.

    Killed, and called again, it goes on after the last whole batch.

    Args:
        run_dir: the run's folder.
        **options: fields of `EvaluationOptions`.

    Returns:
        The content of `metrics.json`, and a dict an example with the keys of
        `prediction_log.COLUMNS`. None and no row, if another process has them.

    Raises:
        FileNotFoundError: if run or data are missing.
        ValueError: if the split is empty.
    """
    options = EvaluationOptions(**options)
    split, limit, neighbours = options.split, options.limit, options.neighbours
    config, vocabulary, model = run_folder.load_run(run_dir)
    folder = run_folder.find_data(run_dir, options.data)
    sizes = {"image_size": model.image_size, "batch_size": options.batch_size}
    read = functools.partial(dataset.evaluation_batches, folder, **sizes)
    batches = read("train", limit=neighbours)
    training = _read_training(model, folder, batches, neighbours)
    output = output_folder(run_dir, split)
    output.mkdir(exist_ok=True)

    def write(log, start, stop):
        batches = read(split, limit=stop, skip=start)
        task = f"writing prompts of {split}"
        batches = _count_images(folder, batches, split, stop, start, task=task)
        writer = rerank.build_writer(model, vocabulary, options.decoding)
        _write_prompts(writer, batches, training, log)

    identity = identify(run_dir, folder, limit, neighbours, options.decoding)
    count = dataset.count_examples(folder, split, limit)
    rows = write_rows(output, identity, count, write, options.workers)
    if rows is None:
        return None, []
    result = _measure(rows, training[0], options.metrics, options.java_meteor)
    write_json(output / "metrics.json", result)
    pictures = read(split, limit=min(len(rows), MAX_PICTURES))
    attention = WordAttention(model, vocabulary)
    write_gallery(output, rows, pictures, config.preset, split, attention)
    return result, rows


def identify(run_dir, folder, limit, neighbours, decoding=None) -> dict:
    """What predictions depend on; those of another identity are not gone on with."""
    model = pathlib.Path(run_dir) / run_folder.BEST_MODEL
    return {
        **(dataclasses.asdict(decoding) if decoding else {}),
        "data": str(folder),
        "limit": limit,
        "neighbours": neighbours,
        "model_modified": model.stat().st_mtime_ns,
    }


def output_folder(run_dir: str | pathlib.Path, split: str) -> pathlib.Path:
    """Folder of a split's evaluation; the test split has the plain name."""
    name = "evaluation" if split == "test" else f"evaluation_{split}"
    return pathlib.Path(run_dir) / name


def format_metrics(metrics: dict) -> str:
    """Lays out `metrics.json` for people: scores, baselines, health."""
    examples = metrics["examples"]
    lines = [f"{examples} examples, 95 % intervals of the model in brackets"]
    if examples < FEW_EXAMPLES:
        lines.append(
            f"only {examples} examples: the intervals are wide, and a baseline that "
            "repeats a frequent prompt may look good by luck"
        )
    names = [*metrics["metrics"], *metrics["health"]]
    indent = max(len(name) for name in names) + 2
    columns = "".join(f"{name:>{len(name) + 2}}" for name in metrics["baselines"])
    lines.append(f"{'':{indent}}{'model':>24}{columns}")
    for name, value in metrics["metrics"].items():
        digits = 4 if name == "cosine" else 2
        line = f"{name:{indent}}{_format_score(value, digits, with_interval=True):>24}"
        for baseline, scores in metrics["baselines"].items():
            cell = _format_score(scores.get(name), digits)
            line += f"{cell:>{len(baseline) + 2}}"
        lines.append(line)
    for name, value in metrics["health"].items():
        lines.append(f"{name:{indent}}{value:>24.3f}")
    lines += [f"{name}: {v['signature']}" for name, v in metrics["metrics"].items()]
    return "\n".join(lines)


def _format_score(value, digits, with_interval=False) -> str:
    if value is None or value["score"] is None:
        return "unmeasured"
    score, low, high = (f"{value[k]:.{digits}f}" for k in ("score", "low", "high"))
    return f"{score} [{low}, {high}]" if with_interval else score


def _count_images(
    folder, batches: Iterable[dict], split, limit=None, done=0, *, task
) -> Iterator[dict]:
    """Passes batches on; a bar counts their images."""
    total = dataset.count_examples(folder, split, limit)
    with tqdm.tqdm(total=total, initial=done, desc=task, unit="image") as bar:
        for batch in batches:
            yield batch
            bar.update(len(batch["image_id"]))


def _write_prompts(writer, batches, training, log) -> None:
    prompts, features = training
    for batch in batches:
        written = {k: v.numpy() for k, v in writer.write(batch["image"]).items()}
        queries = _mean_regions(writer.model, batch["image"])
        nearest = baselines.nearest_neighbours(queries, features, prompts)
        log.add(
            {
                "image_id": image_id.decode(),
                "reference": batch["reference"][i].numpy().decode(),
                "prediction": written["prompt"][i].decode(),
                "score": float(written["score"][i]),
                "ended": bool(written["ended"][i]),
                "nearest_neighbour": nearest[i],
            }
            for i, image_id in enumerate(batch["image_id"].numpy())
        )


def write_gallery(output, rows, batches, name, split, attention=None) -> None:
    """Writes `gallery.html` of the first examples.

    Args:
        output: folder of the evaluation.
        rows: its rows.
        batches: of `dataset.evaluation_batches`, the pictures to show.
        name: of the model.
        split: of the data.
        attention: `WordAttention` of the model; None shows none.
    """
    prompts = {row["image_id"]: row["prediction"] for row in rows}
    chosen = set()
    if attention is not None:
        chosen.update(gallery_attention.choose_examples(rows[:MAX_PICTURES]))
    pictures, looks = {}, {}
    for batch in batches:
        for key, image in zip(batch["image_id"].numpy(), batch["image"], strict=True):
            image_id = key.decode()
            pictures[image_id] = encode_jpeg(image)
            if image_id in chosen:
                looks[image_id] = gallery_attention.draw_words(
                    attention, image, prompts[image_id]
                )
    title = f"{name}: {len(pictures)} of {len(rows)} pictures of {split}"
    entries = gallery.entries_of({name: rows}, pictures, {name: looks})
    note = gallery_attention.NOTE if looks else ""
    gallery.write_gallery(output / "gallery.html", entries, title, note)


def _read_training(model, folder, batches, limit):
    prompts, features = [], []
    task = "reading neighbours"
    for batch in _count_images(folder, batches, "train", limit, task=task):
        features.append(_mean_regions(model, batch["image"]))
        prompts.extend(prompt.decode() for prompt in batch["reference"].numpy())
    return prompts, np.concatenate(features)


def _mean_regions(model, images):
    regions = model.extract_regions(images, training=False)
    return tf.reduce_mean(regions, axis=1).numpy()


def _measure(rows, training_prompts, metrics, java_meteor) -> dict:
    references = [row["reference"] for row in rows]
    predictions = [row["prediction"] for row in rows]
    written = {
        "model": predictions,
        "most_common": [baselines.most_common(training_prompts)] * len(rows),
        "nearest_neighbour": [row["nearest_neighbour"] for row in rows],
        "random_training": baselines.random_prompts(training_prompts, len(rows)),
        "shuffled": baselines.shuffled_prompts(references),
    }
    models = _load_models(metrics)
    with java_meteor or contextlib.nullcontext():
        scores = {
            name: score(
                references, prompts, metrics=metrics, java_meteor=java_meteor, **models
            )
            for name, prompts in tqdm.tqdm(written.items(), "scoring", unit="set")
        }
    ended = [row["ended"] for row in rows]
    return {
        "examples": len(rows),
        "metrics": scores.pop("model"),
        "baselines": scores,
        "health": health.measure_health(references, predictions, ended),
    }


def _load_models(metrics) -> dict:
    """Loads networks once for all sets of predictions: each takes seconds."""
    with_bertscore = any(name.startswith("bertscore") for name in metrics)
    embedder = _load(cosine.load_embedder) if "cosine" in metrics else None
    if embedder is not None:
        # All sets are compared with the same references, and two share prompts.
        embedder = dataclasses.replace(embedder, vectors={})
    scorer = _load(bertscore.load_scorer) if with_bertscore else None
    return {"embedder": embedder, "scorer": scorer}


def _load(loader):
    # Without it `score` says what is missing, beside the metrics that it has.
    try:
        return loader()
    except (ImportError, ValueError):
        return None
