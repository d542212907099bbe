"""Writes the prompts of a split and measures them beside the baselines."""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf
import tqdm

from tf_prompt.data import caption_batches, text
from tf_prompt.data import folder as data_folder
from tf_prompt.data.embedding_batches import Examples
from tf_prompt.data.images import encode_jpeg
from tf_prompt.decoding.config import DecodingConfig
from tf_prompt.evaluation import baselines, gallery
from tf_prompt.evaluation.prediction_log import COLUMNS, write_rows
from tf_prompt.files import write_json
from tf_prompt.inference import attention as inference_attention
from tf_prompt.inference import captioner
from tf_prompt.inference.attention import WordAttention
from tf_prompt.inference.bank import PromptBank
from tf_prompt.inference.loading import features_of, load_member, predict_encoded
from tf_prompt.inference.model import Member
from tf_prompt.metrics import bertscore, cosine, health, meteor_java, prompt_embedder
from tf_prompt.metrics.score import score, summarise
from tf_prompt.runs import folder as run_folder
from tf_prompt.runs.folder import output_folder
from tf_prompt.runs.workers import Workers

# 9 MB as one page; it loads in half a second.
MAX_PICTURES = 500
# BLEU's interval on 384 examples of the toy set is 5 points wide; on 100, twice that.
FEW_EXAMPLES = 100
_GALLERY_SIZE = 224
# Twelve cards of twelve words are about 300 kB: little beside 500 pictures.
NUM_EACH = 4
NOTE = (
    f"The {NUM_EACH} best, {NUM_EACH} middle and {NUM_EACH} worst pictures by word F1 "
    "also show where the model looked for each word; the brightest part is where it "
    "looked most for that word."
)


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
        workers: processes that write the prompts together, see
            `prediction_log.write_rows`; the chief measures them. None is this one
            alone.
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
    read = functools.partial(caption_batches.evaluation_batches, folder, **sizes)
    batches = read("train", limit=neighbours)
    training = _read_training(model, folder, batches, neighbours)
    output = output_folder(run_dir, split)
    output.mkdir(exist_ok=True)

    def write(log, start, stop):
        batches = read(split, limit=stop, skip=start)
        task = f"writing prompts of {split}"
        batches = _count_images(folder, batches, split, stop, start, task=task)
        writer = captioner.build_writer(model, vocabulary, options.decoding)
        _write_prompts(writer, batches, training, log)

    identity = identify(run_dir, folder, limit, neighbours, options.decoding)
    count = data_folder.count_examples(folder, split, limit)
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
    total = data_folder.count_examples(folder, split, limit)
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
        batches: of `caption_batches.evaluation_batches`, the pictures to show.
        name: of the model.
        split: of the data.
        attention: `WordAttention` of the model; None shows none.
    """
    prompts = {row["image_id"]: row["prediction"] for row in rows}
    chosen = set()
    if attention is not None:
        chosen.update(choose_examples(rows[:MAX_PICTURES]))
    pictures, looks = {}, {}
    for batch in batches:
        for key, image in zip(batch["image_id"].numpy(), batch["image"], strict=True):
            image_id = key.decode()
            pictures[image_id] = encode_jpeg(image)
            if image_id in chosen:
                looks[image_id] = inference_attention.draw_words(
                    attention, image, prompts[image_id]
                )
    title = f"{name}: {len(pictures)} of {len(rows)} pictures of {split}"
    entries = gallery.entries_of({name: rows}, pictures, {name: looks})
    note = NOTE if looks else ""
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
    embedder = _load(prompt_embedder.load_embedder) if "cosine" in metrics else None
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


def evaluate_embeddings(
    run_dir: str | pathlib.Path, **options
) -> tuple[dict | None, list[dict]]:
    """Measures a run whose model predicts embeddings; writes into its folder.

    The cosine compares the predicted embedding with that of the prompt as its user
    wrote it, which is the competition's metric. Metrics of words measure the text
    that stands for the embedding: what the model itself writes, or the training
    prompt nearest to it.

    Killed, and called again, it goes on after the last whole batch.

    Args:
        run_dir: the run's folder.
        **options: fields of `evaluator.EvaluationOptions`; `decoding` and
            `java_meteor` do not matter here, `neighbours` are the first prompts.

    Returns:
        As `evaluator.evaluate_run`; rows have `cosine` too, and `score` of a prompt
        of the training set is its cosine with the predicted embedding.

    Raises:
        FileNotFoundError, ValueError: as `evaluator.evaluate_run`.
    """
    options = EvaluationOptions(**options)
    split, limit, batch_size = options.split, options.limit, options.batch_size
    member = load_member(run_dir)
    folder = run_folder.find_data(run_dir, options.data)
    training = _read_examples(member, folder, batch_size, options.neighbours)
    output = run_folder.output_folder(run_dir, split)
    output.mkdir(exist_ok=True)

    def write(log, start, stop):
        examples = Examples(folder, split, stop, start)
        for batch in examples.batches(batch_size, f"embedding images of {split}"):
            log.add(_predict_rows(member, training, batch))

    identity = identify(run_dir, folder, limit, options.neighbours)
    examples = Examples(folder, split, limit)
    columns = (*COLUMNS, "cosine")
    workers = options.workers
    rows = write_rows(output, identity, examples.num_examples, write, workers, columns)
    if rows is None:
        return None, []
    result = _measure_embeddings(rows, examples.targets(), training, options.metrics)
    write_json(output / "metrics.json", result)
    shown = min(len(rows), MAX_PICTURES)
    pictures = caption_batches.evaluation_batches(
        folder, split, image_size=_GALLERY_SIZE, batch_size=batch_size, limit=shown
    )
    write_gallery(output, rows, pictures, member.name, split)
    return result, rows


@dataclasses.dataclass(frozen=True)
class _Training:
    """What a picture is compared with: prompts, and of each a vector and features."""

    prompts: list[str]
    vectors: np.ndarray
    features: np.ndarray
    bank: PromptBank


def _read_examples(member, folder, batch_size, limit) -> _Training:
    prompts, vectors, features = [], [], []
    examples = Examples(folder, "train", limit)
    for batch in examples.batches(batch_size, "reading neighbours"):
        prompts.extend(batch["prompt"])
        vectors.append(batch["target"])
        features.append(features_of(member, batch["image"]))
    vectors = np.concatenate(vectors)
    distinct = {prompt: row for row, prompt in reversed(list(enumerate(prompts)))}
    bank = PromptBank(list(distinct), vectors[list(distinct.values())])
    return _Training(prompts, vectors, np.concatenate(features), bank)


def _predict_rows(member: Member, training, batch):
    found = predict_encoded(member, batch["image"])
    written, scores = found.prompts, found.scores
    if written is None:
        likest, similarities = training.bank.nearest(found.embeddings)
        written = [_normalise(prompts[0]) for prompts in likest]
        scores = similarities[:, 0]
    queries = features_of(member, batch["image"])
    nearest = baselines.nearest_neighbours(queries, training.features, training.prompts)
    truth = cosine.cosines(batch["target"], found.embeddings)
    for i, image_id in enumerate(batch["image_id"]):
        yield {
            "image_id": image_id,
            "reference": batch["reference"][i],
            "prediction": written[i],
            "score": float(scores[i]),
            "ended": True,
            "nearest_neighbour": nearest[i],
            "cosine": float(truth[i]),
        }


def _normalise(prompt) -> str:
    return " ".join(text.split_words(prompt))


def _measure_embeddings(rows, vectors, training, metrics) -> dict:
    embedder = prompt_embedder.load_embedder()
    signature = prompt_embedder.signature(embedder)
    references = [row["reference"] for row in rows]
    own = np.array([row["cosine"] for row in rows])
    common = [baselines.most_common(training.prompts)] * len(rows)
    texts = {
        "most_common": common,
        "nearest_neighbour": [row["nearest_neighbour"] for row in rows],
        "random_training": baselines.random_prompts(training.prompts, len(rows)),
    }
    shuffled = baselines.shuffled_prompts([str(i) for i in range(len(rows))])
    found = {
        name: prompt_embedder.embed(prompts, embedder)
        for name, prompts in texts.items()
    }
    found["shuffled"] = vectors[[int(index) for index in shuffled]]
    found["mean_embedding"] = np.tile(training.vectors.mean(axis=0), (len(rows), 1))
    texts = {name: [_normalise(p) for p in prompts] for name, prompts in texts.items()}
    texts["shuffled"] = [references[int(index)] for index in shuffled]
    texts["model"] = [row["prediction"] for row in rows]
    of_words = [name for name in metrics if name != "cosine"]
    scores = {name: {} for name in ("model", *found)}
    for name, prompts in tqdm.tqdm(texts.items(), "scoring", unit="set"):
        if of_words:
            scores[name] = score(references, prompts, metrics=of_words)
    cosines = {name: cosine.cosines(vectors, rows) for name, rows in found.items()}
    for name, values in {"model": own, **cosines}.items():
        if "cosine" in metrics:
            scores[name]["cosine"] = summarise(values, signature)
    return {
        "examples": len(rows),
        "metrics": scores.pop("model"),
        "baselines": scores,
        "health": health.measure_health(references, texts["model"], [True] * len(rows)),
    }


def choose_examples(rows: Sequence[Mapping], num_each: int = NUM_EACH) -> list[str]:
    """Chooses the pictures with the best, the middle and the worst prompts.

    Only those whose prompt has words: there is nothing to show for none. Pictures
    of one word F1 keep their order.

    Args:
        rows: mappings with `image_id`, `reference`, `prediction` and `score`.
        num_each: int > 0. Pictures of each of the three kinds.

    Returns:
        At most `3 * num_each` image ids, the worst first; all if there are no more.
    """
    written = [row for row in rows if row["prediction"].split()]
    if len(written) <= 3 * num_each:
        return [row["image_id"] for row in written]
    scores = [found["word_f1"] for found in gallery.per_example_scores(written)]
    order = sorted(range(len(written)), key=scores.__getitem__)
    start = (len(order) - num_each) // 2
    middle = order[start : start + num_each]
    chosen = [*order[:num_each], *middle, *order[-num_each:]]
    return [written[index]["image_id"] for index in chosen]
