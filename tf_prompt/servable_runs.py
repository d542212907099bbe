"""From the run of any model to what its SavedModel offers."""

import pathlib
import sys

from tf_prompt.bank import build_bank, read_prompts, training_bank
from tf_prompt.data import dataset
from tf_prompt.graph_members import MAX_TABLE_BYTES
from tf_prompt.metrics import cosine
from tf_prompt.models import presets
from tf_prompt.run_writers import BANK_CACHE
from tf_prompt.servables import (
    EmbeddingServable,
    Servable,
    load_captioner,
    load_member,
)
from tf_prompt.training import run_folder


def load_servable(options) -> Servable:
    """Loads what is to be exported; says on stderr what is left out.

    Args:
        options: `export.ExportConfig`.

    Raises:
        FileNotFoundError: if a part of the run, or the bank, is missing.
        ValueError: if the model cannot be exported.
    """
    run = run_folder.read_config(options.run_dir)
    if presets.kind(run.preset) == "captioner":
        if options.bank is not None:
            raise ValueError(
                f"bank must be left out with preset {run.preset}. "
                f"Received: {options.bank}"
            )
        embedder = _find_embedder() if options.embed else None
        return load_captioner(options.run_dir, options.num_beams, embedder)
    member = load_member(options.run_dir)
    if presets.kind(run.preset) == "interrogator":
        # It writes prompts itself.
        return EmbeddingServable(member)
    return EmbeddingServable(member, _load_bank(options, run))


def _find_embedder():
    try:
        return cosine.load_embedder()
    except ValueError as error:
        print(f"the signature `embed` is left out: {error}", file=sys.stderr)
        return None


def _load_bank(options, run):
    if options.bank is not None:
        prompts = read_prompts(options.bank)
        cache = pathlib.Path(options.run_dir) / BANK_CACHE
        return build_bank(prompts, cosine.load_embedder(), cache)
    bank = training_bank(dataset.find_data(run.data))
    most = MAX_TABLE_BYTES // (4 * cosine.EMBEDDING_DIM)
    if len(bank.prompts) > most:
        print(
            f"prompt and score are left out: the {len(bank.prompts):,} training "
            f"prompts are more than {most:,}; give fewer with --bank",
            file=sys.stderr,
        )
        return None
    return bank
