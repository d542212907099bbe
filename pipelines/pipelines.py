"""Explains how to run a verb to users who run it as a file.

Then Python looks for the package `pipelines` in the package's own folder, and finds
this module; run with `-m` from the checkout, nothing imports it.
"""

import os
import sys

folder = os.path.dirname(os.path.abspath(__file__))
verb, ending = os.path.splitext(os.path.basename(sys.argv[0]))
if not ending:
    verb = "VERB"
print(
    "pipelines: error: a verb must be run with -m in the folder of the checkout. "
    f"Received: {sys.argv[0]}; cd {os.path.dirname(folder)} && python -m "
    f"pipelines.{verb}",
    file=sys.stderr,
)
sys.exit(2)
