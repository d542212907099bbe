"""Broken and hostile files give no prompt, in little time, and never an error."""

import json
import random
import struct
import time
import zlib

import pytest

from tests.data.generated_files import FILES, GRAPH, png
from tf_prompt.data import embedded_chunks
from tf_prompt.data.embedded import Embedded, read_embedded

# On a busy machine; alone it takes a tenth of it.
SECONDS = 5


def chunk(name, content):
    checksum = zlib.crc32(name + content)
    return (
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)
    )


def with_chunks(*chunks):
    return png()[:-12] + b"".join(chunks) + chunk(b"IEND", b"")


def packed(text):
    return chunk(b"zTXt", b"parameters\0\0" + zlib.compress(text))


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_gives_a_prompt_or_none(name):
    data, _ = FILES[name]
    numbers = random.Random(name)
    for _ in range(150):
        damaged = bytearray(data[: numbers.randrange(1, len(data) + 1)])
        for _ in range(numbers.randrange(4)):
            damaged[numbers.randrange(len(damaged))] = numbers.randrange(256)
        assert isinstance(read_embedded(bytes(damaged)), Embedded | None)
        assert isinstance(read_embedded(mended(damaged)), Embedded | None)


def mended(data):
    """A PNG with right checksums, without which no text of it would be read."""
    place, data = 8, bytearray(data)
    while data.startswith(b"\x89PNG") and place + 12 <= len(data):
        end = place + 8 + int.from_bytes(data[place : place + 4])
        data[end : end + 4] = struct.pack(">I", zlib.crc32(data[place + 4 : end]))
        place = end + 4
    return bytes(data)


@pytest.mark.parametrize("name", ["comfyui-api", "comfyui-workflow", "invokeai-3"])
def test_content_of_other_kinds_gives_a_prompt_or_none(name):
    """Each value of the JSON in turn is one of another kind."""
    data, _ = FILES[name]
    texts = embedded_chunks.read_texts(data)
    for keyword, text in texts.items():
        places = list(walk(json.loads(text)))
        for place in places:
            for other in (None, 1, -1.5, "x", [], {}, [None], ["3", 0], True):
                content = json.loads(text)
                holder = content
                for step in place[:-1]:
                    holder = holder[step]
                holder[place[-1]] = other
                changed = png({keyword: json.dumps(content)})
                assert isinstance(read_embedded(changed), Embedded | None)


def walk(content, above=()):
    steps = content.items() if isinstance(content, dict) else enumerate(content)
    for step, value in steps:
        yield (*above, step)
        if isinstance(value, dict | list):
            yield from walk(value, (*above, step))


def test_a_text_whose_checksum_is_wrong_is_passed_over():
    data, _ = FILES["a1111-png"]
    place = data.index(b"parameters")
    damaged = data[:place] + b"parametexs" + data[place + 10 :]
    assert read_embedded(damaged) is None


def test_a_broken_text_hides_no_other():
    data = with_chunks(
        chunk(b"zTXt", b"parameters\0\0" + b"no zlib"),
        chunk(b"iTXt", b"parameters"),
        chunk(b"tEXt", b""),
        chunk(b"tEXt", b"prompt\0{broken"),
        chunk(b"tEXt", b"workflow\0[[[[[["),
        chunk(b"tEXt", b'Dream\0"a cat" -s 5'),
    )
    assert read_embedded(data) == Embedded("a cat", steps=5)


def circle(num_nodes):
    """A graph in which each node takes from all."""
    links = {f"conditioning_{n}": [str(n), 0] for n in range(num_nodes)}
    nodes = {
        str(n): {"class_type": "X", "inputs": links | {"positive": ["0", 0], "seed": 1}}
        for n in range(num_nodes)
    }
    return json.dumps(nodes)


def chain(num_nodes):
    nodes = {
        str(n): {"class_type": "X", "inputs": {"conditioning": [str(n + 1), 0]}}
        for n in range(num_nodes)
    }
    return json.dumps({**nodes, "s": {"inputs": {"positive": ["0", 0], "seed": 1}}})


HOSTILE = {
    "bomb": lambda: with_chunks(packed(b"a" * 2**27)),
    "bombs": lambda: with_chunks(*[packed(b"a" * 2**23)] * 500),
    "huge": lambda: png({"parameters": "a" * 2**24}),
    "long": lambda: png({"parameters": "a" * 2**21}),
    "deep": lambda: png({"prompt": "[" * 2**21}),
    "deep objects": lambda: png({"prompt": '{"1":' * 2**18}),
    "wide": lambda: png({"prompt": "[" + "1," * 2**20 + "1]"}),
    "number": lambda: png({"invokeai_metadata": '{"seed": ' + "9" * 2**20 + "}"}),
    "settings": lambda: png({"parameters": ("Steps: a" * 2**13 + "\n") * 40}),
    "quotes": lambda: png({"parameters": ('Steps:"\\",' * 2**11 + "\n") * 40}),
    "brackets": lambda: png({"Dream": '"' + "[a" * 2**19 + '" -s 5'}),
    "switches": lambda: png({"Dream": '"' + '" ' * 2**19}),
    "circle": lambda: png({"prompt": circle(300)}),
    "chain": lambda: png({"prompt": chain(20000)}),
    "small parts": lambda: with_chunks(*[chunk(b"tEXt", b"a\0b")] * 10**6),
    "fields": lambda: b"RIFF\xff\xff\xff\xffWEBPEXIF" + fields(2**22),
}


def fields(size):
    """EXIF whose many fields are all of it."""
    tiff = b"II*\0" + struct.pack("<IH", 8, 60000)
    tiff += struct.pack("<HHII", 0x9286, 7, size - 8, 0) * 60000
    return struct.pack("<I", size) + tiff.ljust(size, b"\0")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_takes_little_time(name):
    data = HOSTILE[name]()
    start = time.process_time()
    assert read_embedded(data) is None
    assert time.process_time() - start < SECONDS


def test_no_text_is_unpacked_beyond_the_limit(tmp_path):
    import tracemalloc

    data = HOSTILE["bomb"]()
    tracemalloc.start()
    read_embedded(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * embedded_chunks.MAX_BYTES


def test_half_a_pair_does_not_reach_a_file():
    graph = json.loads(json.dumps(GRAPH))
    graph["6"]["inputs"]["text"] = "a \ud800 cat"
    data = png({"prompt": json.dumps(graph)})
    assert read_embedded(data).prompt.encode() == b"a  cat"
