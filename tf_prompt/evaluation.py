"""Writes the prompts of a split and measures them beside the baselines."""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tqdm

from tf_prompt import baselines, gallery
from tf_prompt.config import DecodingConfig, write_json
from tf_prompt.data import dataset
from tf_prompt.images import encode_jpeg
from tf_prompt.metrics import bertscore, cosine, health
from tf_prompt.metrics.score import score
from tf_prompt.prediction_log import PredictionLog, read_predictions
from tf_prompt.serving import PromptWriter
from tf_prompt.training import run_folder

# 9 MB as one page; it loads in half a second.
MAX_PICTURES = 500


def evaluate_run(
    run_dir: str | pathlib.Path,
    split: str = "test",
    data: str | None = None,
    metrics: Sequence[str] = ("bleu", "meteor", "cosine"),
    batch_size: int = 64,
    limit: int | None = None,
    neighbours: int = 10000,
    decoding: DecodingConfig | None = None,
) -> tuple[dict, list[dict]]:
    """Measures the best model of a run, and writes the result into its folder.

    Killed, and called again, it goes on after the last whole batch.

    Args:
        run_dir: the run's folder.
        split: one of `split.SPLITS`.
        data: `toy` or a folder of shards; None takes the run's own.
        metrics: names of `metrics.score.ALL_METRICS`.
        batch_size: images written about at once.
        limit: examples at most; None takes all.
        neighbours: training images that the nearest-neighbour baseline searches.
        decoding: how to write; kept in `predictions.json` beside the metrics.

    Returns:
        The content of `metrics.json`, and a dict an example with the keys of
        `prediction_log.COLUMNS`.

    Raises:
        FileNotFoundError: if run or data are missing.
        ValueError: if the split is empty.
    """
    decoding = decoding or DecodingConfig()
    config, vocabulary, model = run_folder.load_run(run_dir)
    folder = dataset.find_data(data or config.data)
    sizes = {"image_size": model.image_size, "batch_size": batch_size}
    read = functools.partial(dataset.evaluation_batches, folder, **sizes)
    training = _read_training(model, read("train", limit=neighbours))
    output = output_folder(run_dir, split)
    output.mkdir(exist_ok=True)
    identity = _identify(run_dir, folder, limit, neighbours, decoding)
    with PredictionLog(output, identity) as log:
        batches = read(split, limit=limit, skip=log.num_done)
        _write_prompts(
            PromptWriter(model, vocabulary, decoding), batches, training, log, split
        )
    rows = read_predictions(output)
    if not rows:
        raise ValueError(f"split must hold examples. Received: {split} in {folder}")
    result = _measure(rows, training[0], metrics)
    write_json(output / "metrics.json", result)
    pictures = read(split, limit=min(len(rows), MAX_PICTURES))
    _write_gallery(output / "gallery.html", rows, pictures, config.preset, split)
    return result, rows


def _identify(run_dir, folder, limit, neighbours, decoding) -> dict:
    """What predictions depend on; those of another identity are not gone on with."""
    model = pathlib.Path(run_dir) / run_folder.BEST_MODEL
    return {
        **dataclasses.asdict(decoding),
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
    lines = [f"{metrics['examples']} examples, 95 % intervals in brackets"]
    columns = {"model": metrics["metrics"], **metrics["baselines"]}
    lines.append(f"{'':14}" + "".join(f"{name:>24}" for name in columns))
    for name in metrics["metrics"]:
        cells = [_format_score(scores.get(name)) for scores in columns.values()]
        lines.append(f"{name:14}" + "".join(f"{cell:>24}" for cell in cells))
    for name, value in metrics["health"].items():
        lines.append(f"{name:14}{value:>24.3f}")
    lines += [f"{name}: {v['signature']}" for name, v in metrics["metrics"].items()]
    return "\n".join(lines)


def _format_score(value) -> str:
    if value is None or value["score"] is None:
        return "not measured"
    return "{score:.2f} [{low:.2f}, {high:.2f}]".format(**value)


def _write_prompts(writer, batches, training, log, split) -> None:
    prompts, features = training
    for batch in tqdm.tqdm(batches, f"writing prompts of {split}", unit="batch"):
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


def _write_gallery(path, rows, batches, name, split) -> None:
    pictures = {
        image_id.decode(): encode_jpeg(image)
        for batch in batches
        for image_id, image in zip(
            batch["image_id"].numpy(), batch["image"], strict=True
        )
    }
    title = f"{name}: {len(pictures)} of {len(rows)} pictures of {split}"
    gallery.write_gallery(path, gallery.entries_of({name: rows}, pictures), title)


def _read_training(model, batches):
    prompts, features = [], []
    for batch in tqdm.tqdm(batches, desc="reading neighbours", unit="batch"):
        features.append(_mean_regions(model, batch["image"]))
        prompts.extend(prompt.decode() for prompt in batch["reference"].numpy())
    return prompts, np.concatenate(features)


def _mean_regions(model, images):
    regions = model.extract_regions(images, training=False)
    return tf.reduce_mean(regions, axis=1).numpy()


def _measure(rows, training_prompts, metrics) -> dict:
    references = [row["reference"] for row in rows]
    predictions = [row["prediction"] for row in rows]
    # Models load in seconds: once for all sets of predictions.
    with_bertscore = any(name.startswith("bertscore") for name in metrics)
    models = {
        "embedder": _load(cosine.load_embedder) if "cosine" in metrics else None,
        "scorer": _load(bertscore.load_scorer) if with_bertscore else None,
    }
    written = {
        "model": predictions,
        "most_common": [baselines.most_common(training_prompts)] * len(rows),
        "nearest_neighbour": [row["nearest_neighbour"] for row in rows],
        "random_training": baselines.random_prompts(training_prompts, len(rows)),
    }
    scores = {
        name: score(references, prompts, metrics=metrics, **models)
        for name, prompts in tqdm.tqdm(written.items(), "scoring", unit="set")
    }
    ended = [row["ended"] for row in rows]
    return {
        "examples": len(rows),
        "metrics": scores.pop("model"),
        "baselines": scores,
        "health": health.measure_health(references, predictions, ended),
    }


def _load(loader):
    # Without it `score` says what is missing, beside the metrics that it has.
    try:
        return loader()
    except (ImportError, ValueError):
        return None
