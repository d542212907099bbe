"""Measures the prompt embeddings that a model predicts, beside the baselines."""

import dataclasses
import pathlib

import numpy as np
import tqdm

from tf_prompt import baselines, evaluation, text
from tf_prompt.bank import PromptBank
from tf_prompt.data import dataset
from tf_prompt.data.embedding_dataset import Examples
from tf_prompt.members import Member, features_of, load_member, predict_encoded
from tf_prompt.metrics import cosine, health
from tf_prompt.metrics.score import score, summarise
from tf_prompt.prediction_log import COLUMNS
from tf_prompt.shares import write_rows
from tf_prompt.training import run_folder
from tf_prompt.whole_files import write_json

_GALLERY_SIZE = 224


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
        **options: fields of `evaluation.EvaluationOptions`; `decoding` and
            `java_meteor` do not matter here, `neighbours` are the first prompts.

    Returns:
        As `evaluation.evaluate_run`; rows have `cosine` too, and `score` of a prompt
        of the training set is its cosine with the predicted embedding.

    Raises:
        FileNotFoundError, ValueError: as `evaluation.evaluate_run`.
    """
    options = evaluation.EvaluationOptions(**options)
    split, limit, batch_size = options.split, options.limit, options.batch_size
    member = load_member(run_dir)
    folder = run_folder.find_data(run_dir, options.data)
    training = _read_training(member, folder, batch_size, options.neighbours)
    output = evaluation.output_folder(run_dir, split)
    output.mkdir(exist_ok=True)

    def write(log, start, stop):
        examples = Examples(folder, split, stop, start)
        for batch in examples.batches(batch_size, f"embedding images of {split}"):
            log.add(_predict_rows(member, training, batch))

    identity = evaluation.identify(run_dir, folder, limit, options.neighbours)
    examples = Examples(folder, split, limit)
    columns = (*COLUMNS, "cosine")
    workers = options.workers
    rows = write_rows(output, identity, examples.num_examples, write, workers, columns)
    if rows is None:
        return None, []
    result = _measure(rows, examples.targets(), training, options.metrics)
    write_json(output / "metrics.json", result)
    shown = min(len(rows), evaluation.MAX_PICTURES)
    pictures = dataset.evaluation_batches(
        folder, split, image_size=_GALLERY_SIZE, batch_size=batch_size, limit=shown
    )
    evaluation.write_gallery(output, rows, pictures, member.name, split)
    return result, rows


@dataclasses.dataclass(frozen=True)
class _Training:
    """What a picture is compared with: prompts, and of each a vector and features."""

    prompts: list[str]
    vectors: np.ndarray
    features: np.ndarray
    bank: PromptBank


def _read_training(member, folder, batch_size, limit) -> _Training:
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


def _measure(rows, vectors, training, metrics) -> dict:
    embedder = cosine.load_embedder()
    signature = cosine.signature(embedder)
    references = [row["reference"] for row in rows]
    own = np.array([row["cosine"] for row in rows])
    common = [baselines.most_common(training.prompts)] * len(rows)
    texts = {
        "most_common": common,
        "nearest_neighbour": [row["nearest_neighbour"] for row in rows],
        "random_training": baselines.random_prompts(training.prompts, len(rows)),
    }
    shuffled = baselines.shuffled_prompts([str(i) for i in range(len(rows))])
    found = {name: cosine.embed(prompts, embedder) for name, prompts in texts.items()}
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
