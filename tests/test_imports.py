"""Who may import whom: a room may use only what stands to its left."""

import ast
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]
FLOORS = [
    {"options", "files", "layers", "metrics"},
    {"data", "decoding", "models"},
    {"runs", "interrogation"},
    {"inference"},
    {"training", "evaluation", "serving"},
    {"__init__", "__main__", "api", "demo"}
    | {"fit", "evaluate", "predict", "export", "interrogate", "submit", "report"}
    | {"serve", "doctor"},
]
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}
# The rest is written with keras and keras.ops.
MAY_USE_TENSORFLOW = {"data", "inference", "training", "evaluation", "serving"}
# `options` imports it for those that parse first, and keeps it quiet.
MAY_USE_TENSORFLOW |= {"options"}


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(path):
    return path.relative_to(ROOT / "tf_prompt").with_suffix("").parts[0]


def product_files():
    files = sorted((ROOT / "tf_prompt").rglob("*.py"))
    assert len(files) > 20
    return files


def own_imports():
    """Pairs of a file and a room of ours that it imports, other than its own."""
    for path in product_files():
        for name in imports_of(path):
            part = name.split(".")[1] if name.startswith("tf_prompt.") else None
            if part in FLOOR_OF and part != part_of(path):
                yield path, part


def test_every_part_has_a_floor():
    assert {part_of(path) for path in product_files()} <= set(FLOOR_OF)
    # Rooms, doors and what they share; not a hallway.
    assert len(FLOOR_OF.keys() - {"__init__", "__main__"}) <= 24


def test_imports_point_downwards():
    for path, part in own_imports():
        above = FLOOR_OF[part] > FLOOR_OF[part_of(path)]
        assert not above, f"{path} imports {part}"


def test_rooms_import_each_other_in_no_circle():
    edges = {}
    for path, part in own_imports():
        edges.setdefault(part_of(path), set()).add(part)
    done = set()
    while rooms := [
        r for r in edges.keys() - done if not edges[r] & edges.keys() - done
    ]:
        done.update(rooms)
    assert not edges.keys() - done


def test_only_three_places_ask_for_a_kind_of_model():
    """All others see a `PromptModel` or a `Task`, and ask it what they want to know."""
    kinds = r"\w*(?:Captioner|Regressor|Interrogator|Ensemble)\b"
    asks = re.compile(rf"is(?:instance|subclass)\([^)]*\b{kinds}|\bpresets\.kind\(")
    known = ("inference/loading.py", "training/tasks/", "models/presets.py")
    for path in product_files():
        if not str(path.relative_to(ROOT / "tf_prompt")).startswith(known):
            assert not asks.search(path.read_text()), path


def test_product_never_imports_pipelines():
    for path in product_files():
        assert not any(n.split(".")[0] == "pipelines" for n in imports_of(path)), path


def test_pipelines_use_data_options_and_files():
    allowed = {"data", "options", "files"}
    for path in (ROOT / "pipelines").rglob("*.py"):
        for name in imports_of(path):
            if name.startswith("tf_prompt."):
                assert name.split(".")[1] in allowed, f"{path} imports {name}"


def test_metrics_stand_alone():
    for path in (ROOT / "tf_prompt" / "metrics").glob("*.py"):
        for name in imports_of(path):
            if name.startswith("tf_prompt"):
                assert name.startswith("tf_prompt.metrics"), f"{path} imports {name}"


def test_models_use_keras_only():
    for path in product_files():
        if part_of(path) not in MAY_USE_TENSORFLOW:
            assert not any(n.split(".")[0] == "tensorflow" for n in imports_of(path)), (
                path
            )


def test_models_and_layers_need_no_other_room():
    """So they import without TensorFlow where Keras has another backend."""
    for path in product_files():
        if part_of(path) in {"models", "layers"}:
            for name in imports_of(path):
                part = name.split(".")[1] if name.startswith("tf_prompt.") else None
                assert part in {None, "models", "layers"}, f"{path} imports {name}"


def test_no_test_file_is_overlooked():
    """A file that holds tests has the name that pytest looks for."""
    for path in (ROOT / "tests").rglob("*.py"):
        if "\ndef test_" in path.read_text():
            assert path.name.startswith("test_"), path
