"""Reads size and format of image files from their headers, without decoding."""

import collections
import warnings
from collections.abc import Iterator

import PIL.Image
import tqdm

from pipelines.damage import READ_ERRORS
from pipelines.exploration.counts import TOP
from pipelines.names import match_names
from pipelines.parts import Images, Part, Source

MAX_EXAMPLES = 5


def read_headers(source: Source) -> dict:
    """Reads the header of every image of a source.

    Returns:
        dict of numbers: `files`, `not_square`, `unreadable` files and parts,
        `rows_without_image`, `images_without_row`, and `other_size`, files whose size
        differs from the metadata; and of lists: `formats` and `sizes`, of `value` and
        `images`, most frequent first, and `unreadable_examples`.
    """
    counts = collections.Counter()
    formats, sizes = collections.Counter(), collections.Counter()
    examples: list[str] = []
    parts = tqdm.tqdm(source.parts(), "headers", len(source), unit=" parts")
    for part in parts:
        try:
            for name, header in _read_part(part, counts):
                counts["files"] += 1
                if header is None:
                    counts["unreadable"] += 1
                    examples.append(name)
                    continue
                encoding, size = header
                formats[encoding] += 1
                sizes[size] += 1
                counts["not_square"] += size[0] != size[1]
        except READ_ERRORS:
            counts["unreadable"] += 1
            examples.append(part.name)
    return {
        "files": counts["files"],
        "formats": _list_counts(formats),
        "sizes": _list_counts(
            collections.Counter({f"{w} x {h}": n for (w, h), n in sizes.items()})
        ),
        "not_square": counts["not_square"],
        "unreadable": counts["unreadable"],
        "unreadable_examples": examples[:MAX_EXAMPLES],
        "rows_without_image": counts["rows_without_image"],
        "images_without_row": counts["images_without_row"],
        "other_size": counts["other_size"],
    }


def _list_counts(counter: collections.Counter) -> list[dict]:
    ranked = sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:TOP]
    return [{"value": value, "images": count} for value, count in ranked]


def _read_part(
    part: Part, counts: collections.Counter
) -> Iterator[tuple[str, tuple[str, tuple[int, int]] | None]]:
    """Yields name and header of each image, and counts what does not match the rows."""
    with part.open_images() as images:
        rows = part.read_rows(images)
        rows = rows.assign(image_name=match_names(rows["image_name"], images.names))
        listed = set(rows["image_name"])
        counts["rows_without_image"] += len(listed.difference(images.names))
        counts["images_without_row"] += len(set(images.names).difference(listed))
        known = {}
        if "width" in rows:
            known = {r.image_name: (r.width, r.height) for r in rows.itertuples()}
        for name in images.names:
            header = _read_header(images, name) if images.is_safe(name) else None
            yield name, header
            if header and header[1] != known.get(name, header[1]):
                counts["other_size"] += 1


def _read_header(images: Images, name: str) -> tuple[str, tuple[int, int]] | None:
    """Reads format and size; None if the image cannot be read."""
    try:
        # Pillow reads a PNG or JPEG only as far as its header.
        with warnings.catch_warnings(action="ignore"), images.open(name) as stream:
            with PIL.Image.open(stream) as image:
                return str(image.format), image.size
    except (*READ_ERRORS, SyntaxError, PIL.Image.DecompressionBombError):
        return None
