import dataclasses
import json

import PIL.Image
import pytest

from tests.data import generated_files
from tests.data.generated_files import FILES, INFOTEXT, a1111_exif, plain, png
from tf_prompt.data import metadata_writer
from tf_prompt.data.embedded import Embedded, read_embedded


@pytest.mark.parametrize("name", FILES)
def test_each_programs_file_gives_its_prompt(name):
    data, expected = FILES[name]
    assert dataclasses.astuple(read_embedded(data)) == expected


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_a_file_of_nobody_gives_none(kind):
    assert read_embedded(plain(kind)) is None


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("has_exif", [False, True], ids=["plain", "exif"])
def test_our_own_note_is_read_back(kind, has_exif):
    exif = PIL.Image.Exif()
    if has_exif:
        exif[0x010F] = "Maker"
    prompt = "a castle & a moat <at> dusk, ä 城"
    data = metadata_writer.write_prompt(plain(kind, exif=exif), prompt)
    assert read_embedded(data) == Embedded(prompt)


@pytest.mark.parametrize("name", FILES)
def test_a_programs_own_prompt_goes_before_our_note(name):
    data, expected = FILES[name]
    data = metadata_writer.write_prompt(data, "what a model saw")
    assert dataclasses.astuple(read_embedded(data)) == expected


def test_a_comment_of_a_camera_is_no_prompt():
    exif = a1111_exif("Holidays, Rome: day 2")
    assert read_embedded(plain("JPEG", exif=exif)) is None
    assert read_embedded(png({"Description": "A castle", "Comment": "GIMP"})) is None


@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-16-le", "utf-16"])
def test_a_comment_is_read_in_either_byte_order(encoding):
    text = INFOTEXT.replace("castle", "城")
    data = plain("JPEG", exif=a1111_exif(text, encoding))
    assert read_embedded(data).prompt.startswith("a 城 at dusk")


@pytest.mark.parametrize(
    "text, prompt, negative",
    [
        ("a cat", "a cat", None),
        ("a cat\nSteps: 20, Sampler: Euler, Seed: 1", "a cat", None),
        (
            "a cat\nNegative prompt: b\nSteps: 20, Sampler: Euler, Seed: 1\n"
            "Template: a {cat|dog}\nNegative Template: b",
            "a cat",
            "b",
        ),
        ("{a|b} cat\nSteps: 20, Seed: 1, Size: 8x8", "{a|b} cat", None),
        (
            "a cat, Steps: many\nSteps: 2, Seed: 1, Size: 8x8",
            "a cat, Steps: many",
            None,
        ),
    ],
    ids=["alone", "no negative", "extension", "braces", "look-alike"],
)
def test_infotext_is_split_where_a1111_splits_it(text, prompt, negative):
    found = read_embedded(png({"parameters": text}))
    assert (found.prompt, found.negative_prompt) == (prompt, negative)


def test_only_settings_and_no_prompt_is_none():
    text = "Steps: 20, Sampler: Euler, CFG scale: 7, Seed: 1"
    assert read_embedded(png({"parameters": text})) is None


def test_what_a_terminal_obeys_is_taken_out():
    data = png({"parameters": "a \x1b[31mred\x07 cat\r\nwith a hat"})
    assert read_embedded(data).prompt == "a [31mred cat\nwith a hat"


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, True, "x", None, [1], float("nan")])
def test_a_seed_that_is_none_is_not_told(seed):
    content = {"positive_prompt": "a cat", "seed": seed, "steps": seed}
    found = read_embedded(png({"invokeai_metadata": json.dumps(content)}))
    assert found == Embedded("a cat")


def test_a_setting_may_end_in_a_blank_of_any_kind():
    text = INFOTEXT.replace("965400086", "9654\x1c").replace(": 20,", ": 20\xa0,")
    found = read_embedded(png({"parameters": text}))
    assert (found.seed, found.steps) == (9654, 20)


def test_texts_behind_the_pixels_and_packed_ones_are_read():
    info = PIL.PngImagePlugin.PngInfo()
    info.add_text("parameters", INFOTEXT, zip=True)
    assert read_embedded(plain("PNG", pnginfo=info)).seed == 965400086
    info = PIL.PngImagePlugin.PngInfo()
    info.add_itxt("parameters", INFOTEXT.replace("castle", "城"), zip=True)
    assert "城" in read_embedded(plain("PNG", pnginfo=info)).prompt
    # As ComfyUI's animated PNG has it.
    graph = json.dumps(generated_files.GRAPH).encode()
    info = PIL.PngImagePlugin.PngInfo()
    info.add(b"comf", b"prompt\0" + graph, after_idat=True)
    data = plain("PNG", pnginfo=info)
    assert read_embedded(data).prompt == "a galaxy in a bottle"
