"""Who may import whom: a name may use only what stands below it."""

import ast
import pathlib

ROOT = pathlib.Path(__file__).parents[1]
FLOORS = [
    {"option_ranges"},
    {"config", "whole_files", "output_folder", "__init__"},
    {"decoding_config", "model_config_file", "workers"},
    {"exif", "image_headers"},
    {"text", "images", "layers", "decoding", "rules", "metrics", "keywords"},
    {"phrases", "clip_tokens", "prompt_chain", "part_tokens"},
    {"data", "models", "baselines", "gallery", "neighbours", "ensembling"},
    {"training", "serving", "saved_model", "result_files", "exporting", "warmup"},
    {"prediction_log", "attention_strip", "gallery_attention", "bank", "rerank"},
    {"phrase_embeddings", "prediction", "client", "shares"},
    {"predict_config"},
    {"interrogation"},
    {"interrogation_files", "graph_members", "graph_interrogator"},
    {"evaluation", "reporting", "members", "image_embeddings"},
    {"submission", "model_card", "embedding_evaluation", "ensemble_fit", "run_writers"}
    | {"servables", "servable_runs"},
    {"fit", "evaluate", "predict", "export", "report", "submit", "interrogate"}
    | {"demo"},
]
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}
# What needs tensorflow itself; the rest is written with keras and keras.ops.
MAY_USE_TENSORFLOW = {"config", "text", "images", "data", "training", "serving"}
MAY_USE_TENSORFLOW |= {
    "evaluation",
    "prediction",
    "attention_strip",
    "members",
    "saved_model",
    "demo",
}
MAY_USE_TENSORFLOW |= {
    "client",
    "bank",
    "image_embeddings",
    "interrogation_files",
    "rerank",
}
MAY_USE_TENSORFLOW |= {"exif", "image_headers", "part_tokens", "exporting", "warmup"}
MAY_USE_TENSORFLOW |= {"graph_members", "graph_interrogator", "servables"}


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


def test_every_part_has_a_floor():
    assert {part_of(path) for path in product_files()} == set(FLOOR_OF)


def test_imports_point_downwards():
    for path in product_files():
        for name in imports_of(path):
            part = name.split(".")[1] if name.startswith("tf_prompt.") else None
            if part in FLOOR_OF and part != part_of(path):
                above = FLOOR_OF[part] > FLOOR_OF[part_of(path)]
                assert not above, f"{path} imports {name}"


def test_product_never_imports_pipelines():
    for path in product_files():
        assert not any(n.split(".")[0] == "pipelines" for n in imports_of(path)), path


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


def test_no_test_file_is_overlooked():
    """A file that holds tests has the name that pytest looks for."""
    for path in (ROOT / "tests").rglob("*.py"):
        if "\ndef test_" in path.read_text():
            assert path.name.startswith("test_"), path
