"""The competition's submission file: one number per row, 384 rows per image."""

import csv
import math
import os
import pathlib
import uuid
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from tf_prompt.data import listing
from tf_prompt.files import open_csv
from tf_prompt.inference.image_batches import check_embeddings
from tf_prompt.metrics import bootstrap, cosine, prompt_embedder

HEADER = ["imgId_eId", "val"]
SAMPLE = "sample_submission.csv"
# Given instead of a sample file: sort by name, even if there is a sample.
NO_SAMPLE = "none"


class SubmissionWriter:
    """Writes a submission; the file appears only when it is complete and valid.

    A context manager. On exit the file is read back and validated: all images in
    order, 384 finite numbers each. Then it is renamed to `path`. An invalid file, or
    one interrupted by an exception, is removed; an earlier file stays as it was.

    Args:
        path: final name, in an existing folder.
        image_ids: the images in the order of the rows.
    """

    def __init__(self, path: str | pathlib.Path, image_ids: Sequence[str]):
        self.path = pathlib.Path(path)
        self.image_ids = list(image_ids)
        self.num_written = 0
        name = f"{self.path.name}.{uuid.uuid4().hex}.part"
        self._temporary = self.path.with_name(name)

    def __enter__(self) -> "SubmissionWriter":
        self._file = open(self._temporary, "w", newline="", encoding="utf-8")
        self._csv = csv.writer(self._file, lineterminator="\n")
        self._csv.writerow(HEADER)
        return self

    def add(self, image_ids: Sequence[str], embeddings) -> None:
        """Appends the rows of images.

        Args:
            image_ids: the next images.
            embeddings: float `(images, 384)`.

        Raises:
            ValueError: for images out of order, and for embeddings that are not
                finite or have another shape.
        """
        end = self.num_written + len(image_ids)
        expected = self.image_ids[self.num_written : end]
        if list(image_ids) != expected:
            raise ValueError(
                f"the next images must be {expected}. Received: {list(image_ids)}"
            )
        embeddings = check_embeddings(embeddings, image_ids, "embeddings")
        for image_id, embedding in zip(image_ids, embeddings, strict=True):
            # Just enough digits to restore the float32.
            values = embedding.astype(str)
            self._csv.writerows((f"{image_id}_{e}", v) for e, v in enumerate(values))
        self._file.flush()
        self.num_written = end

    def __exit__(self, error_type, error, trace) -> None:
        try:
            self._file.close()
            if error_type is None:
                _validate(self._temporary, self.image_ids)
                os.replace(self._temporary, self.path)
        finally:
            self._temporary.unlink(missing_ok=True)


def find_sample(
    folder: str | pathlib.Path, given: str | None = None
) -> pathlib.Path | None:
    """Finds the sample file whose order a submission follows.

    Args:
        folder: folder of the images.
        given: a file, or `NO_SAMPLE`; None looks for `SAMPLE` in the folder and then
            in its parent.

    Returns:
        The file, or None if there is none.

    Raises:
        FileNotFoundError: if the given file does not exist.
    """
    if given == NO_SAMPLE:
        return None
    if given is not None:
        if not pathlib.Path(given).is_file():
            raise FileNotFoundError(
                f"sample_submission must be a file. Received: {given}"
            )
        return pathlib.Path(given)
    folder = pathlib.Path(folder).resolve()
    for place in (folder, folder.parent):
        if (place / SAMPLE).is_file():
            return place / SAMPLE
    return None


def find_images(
    folder: str | pathlib.Path, sample: str | pathlib.Path | None = None
) -> dict[str, pathlib.Path]:
    """Lists the images of a submission in the order of its rows.

    Args:
        folder: folder of the images; an image's id is its file name without the
            extension.
        sample: a submission that gives the images and their order; None takes all
            images of the folder, sorted by id.

    Returns:
        dict from image id to file.

    Raises:
        FileNotFoundError: if there is no such folder, no image in it, or an image of
            the sample is missing.
        ValueError: if two files have the same id, or the sample is not a submission.
    """
    if not pathlib.Path(folder).is_dir():
        raise FileNotFoundError(f"images must be a folder. Received: {folder}")
    paths: dict[str, pathlib.Path] = {}
    for path in listing.find_images([folder]):
        if path.stem in paths:
            raise ValueError(
                "images must have distinct names without extensions. Received: "
                f"{paths[path.stem].name} and {path.name}"
            )
        paths[path.stem] = path
    if sample is None:
        return dict(sorted(paths.items()))
    wanted = [image_id for image_id, _ in read_submission(sample)]
    missing = [image_id for image_id in wanted if image_id not in paths]
    if missing:
        raise FileNotFoundError(
            f"images must hold all images of {sample}. Received: {folder}, without "
            f"{len(missing)} of them, first {missing[0]}. To sort by name instead, "
            f"give --sample-submission {NO_SAMPLE}"
        )
    return {image_id: paths[image_id] for image_id in wanted}


def read_submission(path: str | pathlib.Path) -> Iterator[tuple[str, np.ndarray]]:
    """Reads a submission image by image.

    Yields:
        Pairs of an image id and its embedding, float64 `(384,)`.

    Raises:
        ValueError: at the first invalid line; the message gives its number.
    """
    with open_csv(path) as file:
        rows = csv.reader(file)
        if next(rows, None) != HEADER:
            raise _unsound(path, 1, f"the header {','.join(HEADER)}")
        seen: set[str] = set()
        for image_id, embedding in _read_images(path, rows):
            if image_id in seen:
                raise _unsound(path, rows.line_num, f"one block of rows of {image_id}")
            seen.add(image_id)
            yield image_id, embedding
        if not seen:
            raise _unsound(path, 2, "rows of at least one image")


def _read_images(path, rows):
    current, values = None, []
    for row in rows:
        image_id, _, number = row[0].rpartition("_") if len(row) == 2 else ("", "", "")
        current = image_id if not values else current
        if not image_id or (image_id, number) != (current, str(len(values))):
            expected = f"{current or 'IMAGE'}_{len(values)},NUMBER"
            raise _unsound(path, rows.line_num, expected)
        values.append(_to_float(row[1]))
        if not math.isfinite(values[-1]):
            raise _unsound(path, rows.line_num, "a finite number")
        if len(values) == prompt_embedder.EMBEDDING_DIM:
            yield image_id, np.array(values)
            values = []
    if values:
        expected = f"{prompt_embedder.EMBEDDING_DIM} rows of {current}"
        raise _unsound(path, rows.line_num, expected)


def _to_float(value):
    try:
        return float(value)
    except ValueError:
        return math.nan


def _unsound(path, line, expected):
    return ValueError(
        f"a submission must be image-major, {prompt_embedder.EMBEDDING_DIM} rows per "
        f"image. Received: {path}, where line {line} does not hold {expected}"
    )


def _validate(path, image_ids) -> None:
    expected = iter(image_ids)
    for image_id, _ in read_submission(path):
        if image_id != (wanted := next(expected, None)):
            raise ValueError(
                f"a submission must continue with {wanted}. Received: {image_id}"
            )
    missing = list(expected)
    if missing:
        raise ValueError(
            f"a submission must hold all images. Received: one without {len(missing)} "
            f"of {len(image_ids)}, first {missing[0]}"
        )


def read_true_prompts(path: str | pathlib.Path, image_ids: Iterable[str]) -> list[str]:
    """Reads the true prompts of images from a CSV file of `imgId` and `prompt`.

    Args:
        path: the file; it may hold more images.
        image_ids: the images whose prompts to return.

    Returns:
        list of one prompt per image id, in order.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a column or an image is missing, or an image occurs twice.
    """
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f"score must be a CSV file. Received: {path}")
    prompts: dict[str, str] = {}
    with open_csv(path) as file:
        rows = csv.DictReader(file)
        if not {"imgId", "prompt"} <= set(rows.fieldnames or ()):
            raise ValueError(
                f"score must have the columns imgId and prompt. Received: {path}"
            )
        for row in rows:
            # csv puts surplus fields under the key None.
            if row["imgId"] in prompts or None in row or row["prompt"] is None:
                raise ValueError(
                    "score must hold one prompt per image. "
                    f"Received: {path}, line {rows.line_num}: {row['imgId']}"
                )
            prompts[row["imgId"]] = row["prompt"]
    image_ids = list(image_ids)
    missing = [image_id for image_id in image_ids if image_id not in prompts]
    if missing:
        raise ValueError(
            f"score must hold a prompt for every image. Received: {path}, without "
            f"{len(missing)} of {len(image_ids)}, first {missing[0]}"
        )
    return [prompts[image_id] for image_id in image_ids]


def score_submission(
    path: str | pathlib.Path,
    prompts: Sequence[str],
    embedder: prompt_embedder.PromptEmbedder,
    images_at_once: int = 1024,
) -> np.ndarray:
    """Scores a submission as the competition does.

    Args:
        path: the file.
        prompts: true prompts, in the order of the file's images.
        embedder: from `metrics.prompt_embedder.load_embedder`.
        images_at_once: int > 0, images to compare at once.

    Returns:
        float64 `(images,)`, the cosine for each image; the score is their mean.

    Raises:
        ValueError: if the file is invalid, or the number of prompts differs from that
            of images.
    """
    found, waiting = [], []

    def compare():
        true = prompts[len(found) : len(found) + len(waiting)]
        found.extend(
            cosine.cosines(prompt_embedder.embed(true, embedder), np.stack(waiting))
        )
        waiting.clear()

    for _, embedding in read_submission(path):
        waiting.append(embedding)
        if len(waiting) == images_at_once:
            compare()
    if waiting:
        compare()
    if len(found) != len(prompts):
        raise ValueError(
            f"prompts must be as many as images, {len(found)}. Received: {len(prompts)}"
        )
    return np.array(found)


def format_score(cosines: np.ndarray, signature: str) -> str:
    """Formats the competition's metric with its 95 % interval.

    Args:
        cosines: float `(images,)`, result of `score_submission`.
        signature: signature of the embedder.
    """
    score = f"cosine {cosines.mean():.5f}"
    if len(cosines) < 2:
        return f"{score} for one image, which has no interval\n{signature}"
    low, high = bootstrap.interval(cosines)
    return f"{score} [{low:.5f}, {high:.5f}] for {len(cosines)} images\n{signature}"
