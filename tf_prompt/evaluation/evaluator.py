"""Evaluates a run of any kind of model on a split."""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tqdm

from tf_prompt.data import caption_batches, records
from tf_prompt.data.embedding_batches import Examples
from tf_prompt.data.images import encode_jpeg
from tf_prompt.data.targets import read_prompts
from tf_prompt.decoding.config import DecodingConfig
from tf_prompt.evaluation import gallery, lexica, recognition, scoring
from tf_prompt.evaluation.prediction_log import COLUMNS, MODIFIERS, write_rows
from tf_prompt.evaluation.semantic import SemanticSimilarity
from tf_prompt.files import write_json
from tf_prompt.inference import attention
from tf_prompt.inference.bank import PromptBank
from tf_prompt.inference.embedding_models import BankedModel
from tf_prompt.inference.loading import Loader
from tf_prompt.inference.model import PromptModel, to_numpy
from tf_prompt.inference.neighbour_index import FeatureIndex
from tf_prompt.inference.training_features import open_features
from tf_prompt.metrics import cosine, meteor_java
from tf_prompt.runs.run import Run
from tf_prompt.runs.workers import Workers

# A page of 9 MB, which loads in half a second.
MAX_IMAGES = 500
_GALLERY_SIZE = 224
# Twelve cards of twelve words are about 300 kB: little beside 500 images.
NUM_EACH = 4
NOTE = (
    f"The {NUM_EACH} best, {NUM_EACH} middle and {NUM_EACH} worst images by word F1 "
    "also show where the model looked for each word; for each word the brightest part "
    "has the most attention."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """The options of an evaluation.

    Args:
        split: one of `split.SPLITS`.
        data: `toy` or a folder of shards; None takes the run's own.
        metrics: names from `metrics.score.ALL_METRICS`.
        batch_size: images per batch.
        limit: largest number of examples; None takes all.
        neighbours: largest number of training images that the nearest-neighbour
            baseline searches; None takes all.
        protocol: `lexica` also measures modifiers, see `lexica.collect`.
        semantic: with `protocol`, also measures semantic similarity; None does not.
        recognise: regular expression of a label to recognise, see
            `recognition.measure`.
        decoding: how a captioner decodes; kept in `predictions.json` beside the
            metrics.
        java_meteor: computes METEOR and is closed afterwards; None takes NLTK's.
        workers: processes that share the work, see `prediction_log.write_rows`; the
            chief measures. None is a single process.
    """

    split: str = "test"
    data: str | None = None
    metrics: Sequence[str] = ("bleu", "meteor", "cosine")
    batch_size: int = 64
    limit: int | None = None
    neighbours: int | None = None
    protocol: str | None = None
    semantic: SemanticSimilarity | None = None
    recognise: str | None = None
    decoding: DecodingConfig = DecodingConfig()  # noqa: RUF009  frozen
    java_meteor: meteor_java.JavaMeteor | None = None
    workers: Workers | None = None


def evaluate_run(
    run_dir: str | pathlib.Path, **options
) -> tuple[dict | None, list[dict]]:
    """Measures the best model of a run, and writes the results into its folder.

    For models that predict embeddings, the cosine compares these with the embeddings
    of the original prompts, which is the competition's metric. Text metrics measure
    the model's own text, or the training prompt nearest to the predicted embedding.

    An interrupted evaluation resumes after the last complete batch.

    Args:
        run_dir: the run's folder.
        **options: fields of `EvaluationOptions`.

    Returns:
        The result of `scoring.summarise`, and a list of one dict per example with the
        keys of `prediction_log.COLUMNS`, and `cosine` if the model predicts
        embeddings; `ended` is None for models that do not decode words. None and an
        empty list in a process that is not the chief.

    Raises:
        FileNotFoundError: if the run or the data are missing.
        ValueError: if the split is empty, or for decoding options with a model that
            does not decode words.
    """
    result, found, _ = examine_run(run_dir, EvaluationOptions(**options))
    return result, [] if found is None else found.rows


def evaluate_folds(
    run_dirs: Sequence[str | pathlib.Path], **options
) -> tuple[dict, list[dict]]:
    """Measures the runs of a cross-validation, and all of their examples together.

    Each run's results are written into its folder. The neighbours and the other
    baselines of an example come from the training split of its fold.

    Args:
        run_dirs: folders of runs, each on another fold of one set of images.
        **options: fields of `EvaluationOptions`.

    Returns:
        As `evaluate_run`, for the examples of all folds.

    Raises:
        FileNotFoundError, ValueError: as `evaluate_run`.
        ValueError: if two runs are measured on the same image.
    """
    parts, modifiers, seen = [], [], {}
    for run_dir in run_dirs:
        _, found, listed = examine_run(run_dir, EvaluationOptions(**options))
        for row in found.rows:
            example = row["image_id"], row["reference"]
            other = seen.setdefault(example, run_dir)
            if other != run_dir:
                raise ValueError(
                    "run_dir must hold one run, or runs on different folds of "
                    "write_records --fold; tf_prompt.report compares runs. Received: "
                    f"{other} and {run_dir}, both measured on {row['image_id']}"
                )
        parts.append(found)
        modifiers.append(listed)
    pooled = scoring.pool(parts)
    result = scoring.summarise(pooled)
    if options.get("protocol"):
        result["modifiers"] = lexica.summarise(modifiers)
    return result, pooled.rows


def examine_run(
    run_dir: str | pathlib.Path, options: EvaluationOptions
) -> tuple[dict | None, scoring.Statistics | None, lexica.Modifiers | None]:
    """Does what `evaluate_run` does, and returns statistics instead of the rows.

    They are those of the text, and with `protocol` those of the modifiers.
    """
    run = Run(run_dir)
    model = Loader().load_run(run, options.decoding, embeds=False)
    folder = run.find_data(options.data)
    training = _read_training(model, run, folder, options)
    if not model.writes_prompts:
        model = BankedModel(model, training.bank)
    examples = Examples(
        folder, options.split, options.limit, with_targets=model.predicts_embeddings
    )
    output = run.evaluation_folder(options.split)
    output.mkdir(exist_ok=True)
    rows = _write_rows(run, model, folder, training, examples.num_examples, options)
    if rows is None:
        return None, None, None
    vectors = None
    if model.predicts_embeddings:
        vectors = scoring.Vectors(examples.targets(), training.vectors)
    metrics, java_meteor = options.metrics, options.java_meteor
    statistics = scoring.collect(
        rows, training.prompts, metrics, java_meteor, vectors, model.is_raw
    )
    result = scoring.summarise(statistics)
    modifiers = None
    if options.protocol:
        modifiers = lexica.collect(rows, folder, options.split, options.semantic)
        result["modifiers"] = lexica.summarise([modifiers])
    if options.recognise:
        batches = examples.batches(options.batch_size, "recognising labels")
        result[scoring.RECOGNITION] = recognition.measure(
            options.recognise, rows, batches, model, training
        )
    _write_results(output, result)
    batches = _read_gallery(model, folder, options, len(rows))
    write_gallery(output, rows, batches, model, options.split)
    return result, statistics, modifiers


def format_result(result: dict) -> str:
    """Formats all tables of a result of `evaluate_run` or `evaluate_folds`."""
    tables = [scoring.format_metrics(result)]
    if "modifiers" in result:
        tables.append(lexica.format_table(result["modifiers"]))
    if scoring.RECOGNITION in result:
        tables.append(recognition.format_table(result[scoring.RECOGNITION]))
    return "\n\n".join(tables)


def _write_results(output, result: dict) -> None:
    """Writes `metrics.json`, and the other results into files beside it."""
    own = {k: part for k, part in result.items() if k not in scoring.OWN_FILES}
    write_json(output / "metrics.json", own)
    for name in scoring.OWN_FILES:
        if name in result:
            write_json(output / f"{name}.json", result[name])


def _read_gallery(model, folder, options: EvaluationOptions, count: int):
    return caption_batches.evaluation_batches(
        folder,
        options.split,
        # Attention is drawn over the pixels that the model saw.
        image_size=model.image_size if model.attends else _GALLERY_SIZE,
        batch_size=options.batch_size,
        limit=min(count, MAX_IMAGES),
    )


def _write_rows(run: Run, model, folder, training, count: int, options):
    """Writes `predictions.csv`; returns its rows, or None if this is not the chief."""
    split, with_targets = options.split, model.predicts_embeddings

    def write(log, start, stop):
        examples = Examples(folder, split, stop, start, with_targets)
        task = f"writing prompts of {split}"
        for batch in examples.batches(options.batch_size, task):
            log.add(_predict_rows(model, training, batch, labels))

    columns = COLUMNS
    labels = records.list_labels(folder, split)
    columns += tuple(labels)
    columns += (MODIFIERS,) if model.lists_modifiers else ()
    columns += ("cosine",) if with_targets else ()
    output = run.evaluation_folder(split)
    identity = _identify(run, folder, options, model)
    return write_rows(output, identity, count, write, options.workers, columns)


def _identify(run: Run, folder, options: EvaluationOptions, model) -> dict:
    """Everything that predictions depend on; if it differs, they are not resumed."""
    decoding = {} if model.predicts_embeddings else dataclasses.asdict(options.decoding)
    listing = {MODIFIERS: True} if model.lists_modifiers else {}
    if run.config.members:
        members = map(Loader().open_run, run.config.members)
        listing["members_modified"] = [m.model_stat.st_mtime_ns for m in members]
    return {
        **decoding,
        **listing,
        "data": str(folder),
        "limit": options.limit,
        "neighbours": options.neighbours,
        "model_modified": run.model_stat.st_mtime_ns,
    }


@dataclasses.dataclass(frozen=True)
class _Training:
    """Prompts and features of the training images that others are compared with.

    For models that predict embeddings the prompts are the original ones, each with
    its vector; for others they are the text that the model could write.
    """

    prompts: list[str]
    index: FeatureIndex
    vectors: np.ndarray | None = None

    @property
    def bank(self) -> PromptBank:
        """The distinct prompts with their vectors."""
        rows = {prompt: row for row, prompt in reversed(list(enumerate(self.prompts)))}
        return PromptBank(list(rows), self.vectors[list(rows.values())])

    def nearest_prompts(self, queries) -> list[str]:
        """Returns the prompt of the most similar training image for each query.

        Args:
            queries: float `(images, depth)`, features.
        """
        rows, _ = self.index.search(queries, 1)
        return [self.prompts[row] for row in rows[:, 0]]


def _read_training(model, run, folder, options: EvaluationOptions) -> _Training:
    index = open_features(model, run, folder, options.neighbours, options.batch_size)
    rule = "prompt" if model.predicts_embeddings or model.is_raw else "words"
    shards = tqdm.tqdm(
        records.list_shards(folder, "train"), "training prompts", delay=2
    )
    prompts = [prompt for shard in shards for prompt in read_prompts(shard, rule)]
    if not model.predicts_embeddings:
        return _Training([model.reference(text, text) for text in prompts], index)
    return _Training(prompts, index, Examples(folder, "train").targets())


def _references(model: PromptModel, batch) -> list[str]:
    pairs = zip(batch["prompt"], batch["reference"], strict=True)
    return [model.reference(prompt, words) for prompt, words in pairs]


def _predict_rows(
    model: PromptModel, training: _Training, batch, labels: Sequence[str]
) -> Iterator[dict]:
    images = model.open(batch["image"])
    found, queries = to_numpy(model.describe(images)), model.features(images).numpy()
    nearest = training.nearest_prompts(queries)
    truth = None
    if "target" in batch:
        truth = cosine.cosines(batch["target"], found["embedding"])
    references = _references(model, batch)
    for i, image_id in enumerate(batch["image_id"]):
        row = {
            "image_id": image_id,
            "reference": references[i],
            "prediction": found["prompt"][i],
            "score": float(found["score"][i]),
            "ended": bool(found["ended"][i]) if "ended" in found else None,
            "nearest_neighbour": nearest[i],
        }
        row |= {name: batch[name][i] for name in labels}
        if model.lists_modifiers:
            row[MODIFIERS] = found["modifiers"][i]
        yield row if truth is None else {**row, "cosine": float(truth[i])}


def write_gallery(output, rows, batches, model: PromptModel, split: str) -> None:
    """Writes `gallery.html` with the first examples.

    Args:
        output: folder of the evaluation.
        rows: rows of the evaluation.
        batches: the images to show, from `caption_batches.evaluation_batches`.
        model: the model; if it has attention, some images show where it looked.
        split: name of the split.
    """
    prompts = {row["image_id"]: row["prediction"] for row in rows}
    chosen = set(choose_examples(rows[:MAX_IMAGES])) if model.attends else set()
    images, looks = {}, {}
    for batch in batches:
        for key, image in zip(batch["image_id"].numpy(), batch["image"], strict=True):
            image_id = key.decode()
            images[image_id] = encode_jpeg(image)
            if image_id in chosen:
                looks[image_id] = attention.draw_words(model, image, prompts[image_id])
    title = f"{model.name}: {len(images)} of {len(rows)} images of {split}"
    entries = gallery.entries_of({model.name: rows}, images, {model.name: looks})
    note = NOTE if looks else ""
    gallery.write_gallery(output / "gallery.html", entries, title, note)


def choose_examples(rows: Sequence[Mapping], num_each: int = NUM_EACH) -> list[str]:
    """Chooses the images with the best, the middle and the worst prompts.

    Images with an empty prompt are left out, because there is no word to show. Images
    with equal word F1 keep their order.

    Args:
        rows: mappings with `image_id`, `reference`, `prediction` and `score`.
        num_each: int > 0, number of images of each of the three kinds.

    Returns:
        list of at most `3 * num_each` image ids, the worst first.
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
