import dataclasses
import json

import numpy as np
import pytest

from tests import checks
from tests.data import generated_files
from tf_prompt import files, interrogate
from tf_prompt.data import images
from tf_prompt.inference import image_batches
from tf_prompt.interrogation import clip_tokens, phrases, presets
from tf_prompt.interrogation.chains import Chain, chain_up
from tf_prompt.interrogation.config import InterrogationConfig
from tf_prompt.interrogation.interrogator import Interrogator
from tf_prompt.metrics import prompt_embedder
from tf_prompt.models.interrogator import CLIPInterrogator
from tf_prompt.options import DONE, SOME_FAILED, WRONG_USE
from tf_prompt.runs import folder as run_folder
from tf_prompt.runs.config import FitConfig

WORDS = ("cat", "dog", "red", "blue", "monet", "by", "photo", "a", "on", "sand")
TABLES = {
    "media": ["a photo"],
    "artists": ["by monet"],
    "subjects": ["a cat", "a dog"],
    "settings": ["on sand"],
    "flavours": ["red", "blue"],
}


class WordClip:
    """Stands in for a CLIP: a text is the sum of its words, each an axis.

    A picture's first pixels say how much of each word it shows.
    """

    image_size, embedding_dim, precision = 4, len(WORDS), "float32"
    is_causal = False
    clip: dict = {}

    def __init__(self):
        self.num_calls = 0
        self.image_network = self.Network(self._encode_images)
        self.text_network = self.Network(self._encode_texts)

    class Network:
        weights = ()

        def __init__(self, function):
            self.predict_on_batch = function

    def _encode_images(self, pictures):
        vectors = pictures.reshape(len(pictures), -1)[:, : len(WORDS)].astype("float32")
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def _encode_texts(self, token_ids):
        self.num_calls += 1
        return token_ids / np.maximum(
            np.linalg.norm(token_ids, axis=1, keepdims=True), 1e-9
        )


class WordTokens:
    """Gives a text its number of each word."""

    def rows(self, texts):
        texts = [text.replace(",", " ").split() for text in texts]
        return [np.array([t.count(w) for w in WORDS], "float32") for t in texts]

    def pad(self, rows):
        return np.stack(rows)

    def describe(self):
        return {}


def draw_picture(**amounts):
    picture = np.zeros(4 * 4 * 3, np.uint8)
    for word, amount in amounts.items():
        picture[WORDS.index(word)] = amount
    return picture.reshape(4, 4, 3)


# A red cat in a photo, with a little of "a", as any text has.
RED_CAT = draw_picture(cat=100, red=60, photo=60, a=60)
MONETS_DOG = draw_picture(dog=100, monet=90, by=90, a=30)


def interrogate_both(tmp_path, captions=None, **options):
    interrogator = Interrogator(
        WordClip(), WordTokens(), TABLES, tmp_path, InterrogationConfig(**options)
    )
    return interrogator(np.stack([RED_CAT, MONETS_DOG]), captions)


def cosine_of(picture, text):
    a = np.array([text.replace(",", " ").split().count(w) for w in WORDS])
    b = picture.reshape(-1)[: len(WORDS)].astype(float)
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def test_phrases_are_ranked_by_cosine(tmp_path):
    cat, dog = interrogate_both(tmp_path, mode="fast", top=2)
    assert [phrase for phrase, _ in cat.phrases["subjects"]] == ["a cat", "a dog"]
    assert [phrase for phrase, _ in dog.phrases["subjects"]] == ["a dog", "a cat"]
    for result, picture in ((cat, RED_CAT), (dog, MONETS_DOG)):
        for pairs in result.phrases.values():
            for phrase, score in pairs:
                assert score == pytest.approx(cosine_of(picture, phrase), abs=1e-6)


def test_fast_takes_the_best_phrases_of_all_tables(tmp_path):
    cat, dog = interrogate_both(tmp_path, mode="fast", top=2)
    # Cosines by hand: a cat .78, a photo .59, red .42; by monet .77, a dog .56.
    assert cat.prompt == "a photo of a cat"
    assert dog.prompt == "a dog, by monet"
    assert cat.similarity == pytest.approx(
        cosine_of(RED_CAT, "a photo of a cat"), abs=1e-6
    )


def test_classic_has_one_of_each(tmp_path):
    cat, dog = interrogate_both(tmp_path, mode="classic")
    assert cat.prompt == "a photo of a cat on sand, by monet, red, blue"
    assert dog.prompt.startswith("a photo of a dog on sand, by monet")
    cat, _ = interrogate_both(tmp_path, ["my cat", "my dog"], mode="classic")
    assert cat.prompt == "my cat, a photo, by monet, red, blue"


def test_best_stops_where_nothing_raises_the_similarity(tmp_path):
    cat, dog = interrogate_both(tmp_path, mode="best", min_gain=0)
    # By hand: "a cat" .784, with red .881, with a photo too .891, with blue .833.
    assert cat.prompt == "a photo of a cat, red"
    assert dog.prompt == "a dog, by monet"
    for result, picture in ((cat, RED_CAT), (dog, MONETS_DOG)):
        assert result.similarity == pytest.approx(
            cosine_of(picture, result.prompt), abs=1e-6
        )
        for more in ("blue", "on sand"):
            assert cosine_of(picture, f"{result.prompt} {more}") < result.similarity


def test_best_keeps_a_caption_that_cannot_be_bettered(tmp_path):
    caption = "a cat red photo"
    cat, dog = interrogate_both(tmp_path, [caption, "a dog"], mode="best")
    assert cat.prompt == caption
    assert dog.prompt == "a dog, by monet"


def test_best_does_not_grow_beyond_its_limits(tmp_path):
    cat, _ = interrogate_both(tmp_path, mode="best", min_gain=0, max_phrases=1)
    assert cat.prompt == "a cat, red"
    # By hand: red adds .096, a photo then .010.
    cat, _ = interrogate_both(tmp_path, mode="best", min_gain=0.05)
    assert cat.prompt == "a cat, red"
    cat, _ = interrogate_both(tmp_path, mode="best", min_gain=0.1)
    assert cat.prompt == "a cat"


def test_best_scores_all_candidates_of_a_batch_at_once(tmp_path):
    model = WordClip()
    interrogator = Interrogator(model, WordTokens(), TABLES, tmp_path)
    model.num_calls = 0
    interrogator(np.stack([RED_CAT] * 5 + [MONETS_DOG] * 5))
    # The subjects that both begin with, two steps that add, one that does not, and
    # the prompts once more.
    assert model.num_calls == 5


def test_negative_is_what_is_least_like_the_picture(tmp_path):
    cat, dog = interrogate_both(tmp_path, mode="negative", top=2)
    # Without a word in common: 0.
    assert cat.prompt == "by monet, blue"
    assert all(pairs[0][1] <= pairs[-1][1] for pairs in cat.phrases.values())
    assert dog.prompt == "blue, red"


def test_a_captioner_sees_the_pictures(tmp_path):
    def caption(pictures):
        assert pictures.shape == (1, 4, 4, 3)
        return ["a cat on sand"]

    interrogator = Interrogator(
        WordClip(),
        WordTokens(),
        TABLES,
        tmp_path,
        InterrogationConfig(mode="fast", top=1),
        captioner=caption,
    )
    # The best phrase, a cat, is there.
    assert interrogator(RED_CAT[None])[0].prompt == "a cat on sand"


def test_chain_puts_phrases_in_their_places():
    parts = [("flavours", "f"), ("settings", "in s"), ("media", "m"), ("subjects", "x")]
    assert chain_up("", parts).text == "m of x in s, f"
    # A second subject has no room; a caption is the scene.
    assert chain_up("", [*parts, ("subjects", "y")]).text == "m of x in s, f"
    assert chain_up("c", parts).text == "c in s, m, f"
    assert Chain().add("media", "m").text == "m"
    # Nothing that the medium could be of.
    assert chain_up("", [*parts[:3], ("settings", "on t")]).text == "m, in s, on t, f"
    assert chain_up("a red cat", [("flavours", "red")]).text == "a red cat"


def test_wrong_options_are_refused(tmp_path):
    with pytest.raises(ValueError, match="mode must be one of fast, classic"):
        InterrogationConfig(mode="slow")
    with pytest.raises(ValueError, match="candidates must be positive"):
        InterrogationConfig(candidates=0)
    with pytest.raises(ValueError, match="phrases must not be empty"):
        Interrogator(WordClip(), WordTokens(), {"media": []}, tmp_path)


@pytest.fixture(scope="module")
def clip_run(tmp_path_factory):
    """The folder of an untrained CLIP's run, and two pictures with a broken one."""
    root = tmp_path_factory.mktemp("interrogate")
    run_dir, counts = root / "run", dict.fromkeys(WORDS, 1)
    tokenizer = clip_tokens.build_tokenizer(counts, 600)
    model = CLIPInterrogator(
        "tiny", vocab_size=tokenizer.vocabulary_size(), image_size=32
    )
    run_dir.mkdir()
    files.write_json(run_dir / "config.json", dataclasses.asdict(FitConfig()))
    model.save(run_dir / run_folder.BEST_MODEL)
    clip_tokens.CLIPTokens(tokenizer, model.max_tokens, words_only=True).save(
        run_dir / run_folder.TOKENIZER
    )
    phrases.write_tables(TABLES, run_dir / run_folder.PHRASES)
    rng = np.random.default_rng(0)
    for name in ("one.jpg", "two.jpg"):
        picture = rng.integers(0, 256, (40, 50, 3), np.uint8)
        (root / name).write_bytes(images.encode_jpeg(picture))
    (root / "bad.png").write_text("no picture")
    return run_dir


def run_verb(clip_run, capsys, *arguments):
    code = checks.exit_code(interrogate.main, list(map(str, arguments)))
    return code, *capsys.readouterr()


def test_verb_prints_a_line_an_image(clip_run, capsys, tmp_path):
    own = tmp_path / "own.txt"
    own.write_text("blue sand\n")
    root = clip_run.parent
    code, out, err = run_verb(
        clip_run, capsys, root, "--run-dir", clip_run, "--json", "--no-embedding",
        "--phrases", own, "--top", "1", "--batch-size", "2",
    )  # fmt: skip
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == SOME_FAILED
    assert [line["path"] for line in lines] == [
        str(root / name) for name in ("bad.png", "one.jpg", "two.jpg")
    ]
    assert "not an image" in lines[0]["error"]
    assert set(lines[1]["phrases"]) == {*TABLES, "own"}
    assert lines[1]["phrases"]["own"][0][0] == "blue sand"
    assert -1 <= lines[1]["similarity"] <= 1 and lines[1]["prompt"]
    assert "embedding" not in lines[1]


def test_verb_exits_1_where_every_image_fails(clip_run, capsys):
    bad = clip_run.parent / "bad.png"
    code, out, err = run_verb(clip_run, capsys, bad, "--run-dir", clip_run)
    assert code == SOME_FAILED and out == "" and "bad.png: not an image" in err


def test_verb_prints_text(clip_run, capsys):
    picture = clip_run.parent / "one.jpg"
    code, out, err = run_verb(
        clip_run, capsys, picture, "--run-dir", clip_run, "--mode", "fast"
    )
    first, *tables = out.splitlines()
    assert code == DONE and first.startswith(f"{picture}\t")
    assert [line.split(":")[0].strip() for line in tables] == sorted(TABLES)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--run-dir", "x", "--clip", "x"), "one of --run-dir and --clip may be given"),
        (
            ("--run-dir", "x", "--tables", "colours"),
            "tables must be some of media",
        ),
        (("--run-dir", "x", "--half"), "half needs --clip"),
        (("--list",), "one of IMAGE, --list and --make-tables"),
        (("--output", "x"), "make_tables and output must be given together"),
        (("--run-dir", "/nowhere"), "run_dir must hold a run"),
        (("--run-dir", "x", "--mode", "slow"), "invalid choice"),
        (("--run-dir", "x", "--top", "0"), "top must be positive"),
    ],
)
def test_verb_refuses_wrong_use(clip_run, capsys, arguments, message):
    picture = clip_run.parent / "one.jpg"
    code, out, err = run_verb(clip_run, capsys, picture, *arguments)
    assert code == WRONG_USE and message in err and err.count("\n") == 1


def test_verb_refuses_the_run_of_a_captioner(tiny_run, clip_run, capsys):
    picture = clip_run.parent / "one.jpg"
    code, _, err = run_verb(clip_run, capsys, picture, "--run-dir", tiny_run)
    assert code == WRONG_USE and "must hold a CLIP interrogator" in err


def test_results_have_the_embedding_of_their_prompt(tmp_path):
    class Network:
        def predict_on_batch(self, inputs):
            return np.full((len(inputs["padding_mask"]), 384), 0.5)

    embedder = prompt_embedder.PromptEmbedder(
        lambda texts: {"padding_mask": np.ones((len(texts), 1))}, Network(), "test"
    )
    interrogator = Interrogator(
        WordClip(), WordTokens(), TABLES, tmp_path, embedder=embedder
    )
    result = interrogator(RED_CAT[None])[0]
    assert result.embedding.shape == (384,) and (result.embedding == 0.5).all()
    content = image_batches.to_json(result)
    assert len(json.loads(json.dumps(content))["embedding"]) == 384


def test_verb_delivers_by_every_way(clip_run, capsys, tmp_path):
    said, plain = generated_files.FILES["a1111-png"][0], generated_files.plain("PNG")
    (tmp_path / "said.png").write_bytes(said)
    (tmp_path / "plain.png").write_bytes(plain)
    argv = [tmp_path, "--run-dir", clip_run, "--mode", "classic", "--sidecar"]
    argv += ["--csv", tmp_path / "t.csv", "--jsonl", tmp_path / "t.jsonl"]
    argv += ["--no-embedding", "--top", "2", "--write-metadata", tmp_path / "out"]
    template = ["--template", "{artists:2}, {media}", "--suffix", "!"]
    code, out, _ = run_verb(clip_run, capsys, *argv, *template)
    first, second = files.read_rows(tmp_path / "t.jsonl", as_json=True)
    # No model sees what a file says.
    assert second.pop("embedded")["seed"] == 965400086
    assert {**first, "path": 0} == {**second, "path": 0}
    best = {name: [text for text, _ in p] for name, p in first["phrases"].items()}
    text = ", ".join([*best["artists"], best["media"][0]]) + "!"
    assert code == DONE and first["prompt"] == text
    assert (tmp_path / "plain.txt").read_text() == f"{text}\n"
    row, _ = files.read_rows(tmp_path / "t.csv")
    assert row["prompt"] == text and float(row["similarity"]) == first["similarity"]
    assert row["phrases_artists"] == "; ".join(best["artists"])
    assert out.splitlines()[0].split("\t")[2] == text
    assert (tmp_path / "out" / "said.png").is_file()
    argv = [tmp_path, "--run-dir", clip_run, "--skip-existing"]
    assert run_verb(clip_run, capsys, *argv) == (DONE, "", "")


def test_verb_counts_no_tokens_of_a_run(clip_run, capsys, monkeypatch):
    """Their number is another than CLIP's."""
    monkeypatch.setattr(presets, "DEFAULT", "no_such_preset")
    picture = clip_run.parent / "one.jpg"
    argv = [picture, "--run-dir", clip_run, "--max-clip-tokens", "77"]
    code, out, err = run_verb(clip_run, capsys, *argv)
    assert code == WRONG_USE and "max_clip_tokens needs CLIP's tokenizer" in err
