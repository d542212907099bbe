"""What reads files of users, each with sound files to begin from."""

import dataclasses
import pathlib
import random
from collections.abc import Callable

from tests.data import generated_files
from tests.fuzz.damage import damage
from tests.fuzz.readers import (
    check_upload,
    convert_archive,
    count_shard,
    decode_file,
    inspect_archive,
    predict_file,
    read_index,
    read_manifest,
    read_parquet,
    read_results,
    read_run,
    read_shard,
    read_source,
    read_stats,
    take_apart,
    verify_archive,
)
from tests.fuzz.sound_files import (
    PROMPTS,
    archives,
    configs,
    csv_bytes,
    encoded_images,
    image_tables,
    lines,
    make_archive,
    make_json,
    make_lines,
    make_parquet,
    make_shard,
    metrics_files,
    npy_files,
    parquets,
    predictions_files,
    shards,
    stats_files,
    submission_rows,
    tars,
    text_seeds,
)
from tf_prompt.data import embedded, region_cache, targets, text
from tf_prompt.evaluation import prediction_log, submission
from tf_prompt.evaluation.report import data_card
from tf_prompt.files import read_json
from tf_prompt.inference import bank, result_files
from tf_prompt.interrogation import phrases
from tf_prompt.runs import folder as run_folder


@dataclasses.dataclass(frozen=True)
class Target:
    """A reader of files, and how to make bad ones.

    Args:
        file: name of the file in its folder.
        seeds: contents of sound files, made when they are asked for.
        read: the reader, called with the path.
        make: from chance and a seed to a bad file.
        share: inputs of a run relative to the others'; fewer for slow readers.
    """

    file: str
    seeds: Callable[[], list[bytes]]
    read: Callable[[pathlib.Path], object]
    make: Callable[[random.Random, bytes], bytes] = damage
    share: float = 1.0


TARGETS = {
    "image": Target("x.png", encoded_images, decode_file, share=0.6),
    "predict": Target("x.png", encoded_images, predict_file, share=0.2),
    "embedded": Target(
        "x.png",
        lambda: [data for data, _ in generated_files.FILES.values()],
        lambda path: embedded.read_embedded(path.read_bytes()),
    ),
    "upload": Target("x.png", encoded_images, check_upload, share=0.4),
    "archive": Target(
        "part-000001.zip", archives, convert_archive, make_archive, share=0.5
    ),
    "verify zip": Target("x.zip", archives, verify_archive, make_archive),
    "inspect": Target(
        "part-000001.zip", archives, inspect_archive, make_archive, share=0.2
    ),
    "verify parquet": Target("x.parquet", parquets, verify_archive),
    "parquet": Target(
        "metadata.parquet", parquets, read_parquet, make_parquet, share=0.5
    ),
    "csv": Target(
        "x.csv",
        lambda: [csv_bytes(("file", "prompt"), ("a.png", PROMPTS[0]), ("b.png", "x"))],
        read_source,
    ),
    "jsonl": Target(
        "x.jsonl",
        lines('{"path": "a.png", "prompt": "a fox"}', '{"path": "é", "error": "x"}'),
        read_source,
        make_lines,
        share=0.5,
    ),
    "tar": Target("x.tar", tars, read_source, share=0.3),
    "image parquet": Target("x.parquet", image_tables, read_source, share=0.2),
    "submission": Target(
        "x.csv",
        lines("imgId_eId,val", *submission_rows()),
        lambda path: [*submission.read_submission(path)],
        share=0.5,
    ),
    "true prompts": Target(
        "x.csv",
        lambda: [csv_bytes(("imgId", "prompt"), ("a", PROMPTS[0]))],
        lambda path: submission.read_true_prompts(path, ["a"]),
    ),
    "shard": Target("train-00000.tfrecord", shards, read_shard, make_shard, share=0.02),
    "shard headers": Target("train-00000.tfrecord", shards, count_shard),
    "vocabulary": Target(
        "x.txt", lines(*text.SPECIAL_TOKENS, "fox", "château"), text.read_vocabulary
    ),
    "phrases": Target("x.txt", lines(*PROMPTS), phrases.read_table),
    "bank": Target("x.txt", lines(*PROMPTS), bank.read_bank),
    "config": Target(
        "config.json",
        configs,
        lambda path: run_folder.read_config(path.parent),
        make_json,
    ),
    "report config": Target("config.json", configs, read_run, make_json),
    "metrics": Target("evaluation/metrics.json", metrics_files, read_run, make_json),
    "identity": Target(
        "evaluation/predictions.json",
        lambda: [b'{"data": "toy", "limit": null, "model_modified": 1}'],
        read_run,
        make_json,
    ),
    "predictions": Target(
        "predictions.csv",
        predictions_files,
        lambda path: prediction_log.read_predictions(path.parent),
    ),
    "report predictions": Target(
        "evaluation/predictions.csv", predictions_files, read_run
    ),
    "history": Target(
        "history.csv", lines("epoch,loss,val_loss", "1,2.5,2.25", "2,1,1"), read_run
    ),
    "csv results": Target(
        "x.csv.part",
        lambda: [csv_bytes(result_files.COLUMNS, ("a.png", PROMPTS[0], "-1.0", ""))],
        read_results,
    ),
    "jsonl results": Target(
        "x.jsonl.part",
        lambda: [b'{"path": "a.png", "prompt": "x", "score": -1.0}'],
        read_results,
        make_lines,
    ),
    "npy": Target("features.npy", npy_files, read_index),
    "manifest": Target(
        "manifest.json",
        lambda: [b'{"files": {"a": {"bytes": 1, "sha256": "0", "url": "u"}}}'],
        read_manifest,
        make_json,
    ),
    "journal": Target(
        "manifest.json.part",
        lambda: [b'\n{"name": "a", "bytes": 1, "sha256": "0", "url": "u"}'],
        read_manifest,
        make_lines,
    ),
    "part stats": Target("part-00000.json", stats_files, read_stats, make_json),
    "data card": Target(
        "stats.json",
        lambda: [b'{"source": "x", "rows": 2, "dropped": {"blurred": 1}}'],
        lambda path: data_card.describe_data(str(path.parent)),
        make_json,
    ),
    "feature index": Target(
        "features.json",
        lambda: [b'{"signature": {}, "shards": {"a": 5}}'],
        lambda path: region_cache._read_index(path.parent),
        make_json,
    ),
    "embedding index": Target(
        "embeddings.json",
        lambda: [b'{"embedder": "x", "shards": {"a": [5, 2]}}'],
        lambda path: targets._read_index(path.parent),
        make_json,
    ),
    "any json": Target("x.json", metrics_files, read_json),
    "prompt": Target("x.txt", text_seeds, take_apart, share=0.3),
}
