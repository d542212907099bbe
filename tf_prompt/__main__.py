"""Lists the commands and runs one of them: `tf-prompt VERB …`."""

import importlib
import sys
from collections.abc import Sequence

from tf_prompt.options import DONE, WRONG_USE, command

VERBS = {
    "fit": "train a model and test it; without flags on the built-in toy set",
    "predict": "write the prompts of image files, with a run, an export or a server",
    "interrogate": "write a prompt for any image, with a pretrained CLIP or a run",
    "evaluate": "measure a run on a split, with intervals and baselines",
    "report": "compare runs with each other and with the thesis's results",
    "export": "write a run as a SavedModel for TF Serving",
    "submit": "write the Kaggle competition's submission for a folder of images",
    "serve": "serve a model over HTTP, for OpenAI's clients, A1111's and curl",
    "demo": "open a web page that writes the prompts of images",
    "doctor": "say what this machine has, and what is missing for which command",
}
_MODULES = {"demo": "tf_prompt.demo.__main__"}


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Runs `VERB` with the remaining arguments; without a verb, lists them."""
    verb, *rest = [*(sys.argv[1:] if argv is None else argv), ""]
    if verb in ("", "-h", "--help"):
        print(_list_verbs())
        return DONE
    if verb not in VERBS:
        known = ", ".join(VERBS)
        print(
            f"tf-prompt: error: VERB must be one of {known}. Received: {verb}",
            file=sys.stderr,
        )
        return WRONG_USE
    module = importlib.import_module(_MODULES.get(verb, f"tf_prompt.{verb}"))
    return module.main(rest[:-1])


def _list_verbs() -> str:
    lines = [f"  {verb:<12} {purpose}" for verb, purpose in VERBS.items()]
    return "\n".join(
        [
            "usage: tf-prompt VERB [FLAGS], or python -m tf_prompt.VERB [FLAGS]",
            "",
            *lines,
            "",
            "tf-prompt VERB --help lists the flags of a verb. To prepare data, use a",
            "checkout: python -m pipelines.download, inspect, write_records, beam.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
