"""Readers of files of users, as the commands call them: what tests run on bad ones."""

import functools
import json

import numpy as np
import tensorflow as tf

from pipelines import convert, parts, sources, tally
from pipelines.diffusiondb import manifest, metadata, verify
from pipelines.exploration import headers, table
from tests.fuzz.sound_files import (
    CONVERSION,
    PROMPTS,
    configs,
    encoded_images,
    npy_files,
)
from tf_prompt.data import caption_batches, images, records, targets, text, uploads
from tf_prompt.data import folder as data_folder
from tf_prompt.evaluation.report import runs, scores
from tf_prompt.inference import image_files, neighbour_index, result_files
from tf_prompt.interrogation import phrases
from tf_prompt.runs import folder as run_folder


def decode_file(path):
    """Decodes a file, whose reader may say that it is no image."""
    try:
        picture = _decoder()(path.read_bytes())
    except tf.errors.InvalidArgumentError:
        raise ValueError("Received: no image") from None
    assert picture.shape == (8, 8, 3) and picture.dtype == tf.uint8


@functools.cache
def _decoder():
    return tf.function(
        lambda data: images.decode_image(data, 8),
        input_signature=[tf.TensorSpec((), tf.string)],
    )


def _write(image_bytes):
    pictures = np.stack([_decoder()(data) for data in image_bytes])
    scores = pictures.mean((1, 2, 3), dtype=np.float32)
    return {"prompt": [b"a prompt"] * len(pictures), "score": scores}


def predict_file(path):
    """Writes about a bad file and a good one: the good one must not suffer."""
    good = path.with_name("good.png")
    good.write_bytes(encoded_images()[0])
    first, second = image_files.predict(_write, [path, good], 2)
    assert second["prompt"] == "a prompt"
    assert ("error" in first) != ("prompt" in first)


def check_upload(path):
    """As the demo does; its messages are for visitors, and need no `Received`."""
    try:
        uploads.check_image(path.read_bytes(), path.name)
    except ValueError as error:
        assert path.name in str(error)
        raise ValueError(f"Received: {error}") from error


def convert_archive(path):
    """Converts a part; each row must be counted, and its stats be writable."""
    (part,) = sources.open_source(path.parent).parts()
    counts = tally.Tally()
    found = [records.serialise(r) for _, r in _records(part, counts)]
    assert counts.examples.total() == len(found)
    assert counts.rows >= len(found)
    json.dumps(counts.as_json(), ensure_ascii=False).encode()


def _records(part, counts):
    return convert.read_records(part, CONVERSION, counts)


def verify_archive(path):
    """Verifies a download; the caller takes `CorruptFile`."""
    try:
        verify.verify_file(path, path.suffix)
    except verify.CorruptFile as error:
        assert str(error)


def inspect_archive(path):
    """Reads what `inspect` reads of archives without metadata."""
    headers.read_headers(sources.open_source(path.parent))
    table.read_table(table.open_table(path.parent))


def read_parquet(path):
    """Reads metadata as write_records and inspect do."""
    for part_ids in ([1], None):
        rows = metadata.read_metadata(path, part_ids)
        metadata.dropped_by(rows, CONVERSION)
        for prompt in rows["prompt"]:
            text.split_words(prompt)
    table.read_table(table.open_table(path.parent))


def read_source(path):
    """Reads a file with images or their names and prompts, and converts them."""
    source = sources.open_source(path)
    for part in source.parts():
        counts = tally.Tally()
        list(_records(part, counts))
        json.dumps(counts.as_json(), ensure_ascii=False).encode()


def read_results(path):
    """Goes on with a table of results that a killed run left."""
    final = path.with_name(path.name.removesuffix(".part"))
    identity = final.with_name(f"{final.name}.part.json")
    identity.write_text("{}")
    with result_files.open_table(final, {}, final.suffix == ".jsonl") as results:
        results.add([{"path": "é.png", "prompt": PROMPTS[2], "score": -1.0}])


def read_shard(path):
    """Counts, and reads as training and evaluation do."""
    folder = path.parent
    data_folder.count_words(folder)
    num_records = records.count_records(path)
    batches = caption_batches.evaluation_batches(
        folder, "train", image_size=8, batch_size=4
    )
    assert sum(len(b["image_id"]) for b in batches) == num_records
    targets.read_prompts(str(path))


def count_shard(path):
    """Counts by the headers alone."""
    assert records.count_records(path) <= path.stat().st_size / 16


def read_run(path):
    """Reads a run's folder as a report does."""
    root = path.parent.parent if path.parent.name == "evaluation" else path.parent
    if path.name != run_folder.CONFIG:
        (root / run_folder.CONFIG).write_bytes(configs()[0])
    found = runs.read_run(root, "run")
    scores.score_blocks([found])


def read_index(path):
    """Loads an index of neighbours, and searches it."""
    folder = path.parent
    (folder / "neighbours.json").write_text('{"k": 1, "sharpness": 1.0}')
    for name in ("features.npy", "embeddings.npy"):
        if name != path.name:
            (folder / name).write_bytes(npy_files()[0])
    neighbour_index.NeighbourIndex.load(folder)


def read_manifest(path):
    """Opens the manifest of a folder of downloads."""
    with manifest.Manifest(path.parent):
        pass


def read_stats(path):
    """Reads the stats of a part that may be done, and adds them up."""
    part = parts.Part(0, "p.zip", 1, None, opener=None)
    stats = convert.read_done(part, path.parent, CONVERSION)
    assert stats is None or tally.sum_stats([stats]).rows >= 0


def take_apart(path):
    """Applies the text rule and finds phrases; any text has some outcome."""
    prompt = path.read_bytes().decode(errors="surrogateescape")
    assert len(text.split_words(prompt)) <= text.MAX_WORDS
    phrases.find_phrases(prompt)
