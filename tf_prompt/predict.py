"""Writes the prompts of image files."""

import contextlib
import dataclasses
import sys

from tf_prompt import config, decoding_config, workers
from tf_prompt.predict_config import PredictConfig


@config.command
def main(argv=None) -> int:
    """Runs the command; see `--help`."""
    options = config.parse_args(PredictConfig, argv, "predict")
    config.import_tensorflow()
    from tf_prompt import prediction, result_files

    paths = result_files.find_paths(options.paths, options.recursive)
    share = workers.parse_share(options.share)
    if share:
        paths = paths[share.index :: share.count]
    if options.skip_existing:
        paths = [p for p in paths if not result_files.sidecar_of(p).exists()]
    decoding = config.take_options(decoding_config.DecodingConfig, options)
    writer, strips = load(options, decoding)
    failures = []
    with contextlib.ExitStack() as stack:
        tables = result_files.open_tables(options, dataclasses.asdict(decoding), stack)
        left = result_files.without_done(paths, tables)
        for result in prediction.predict(writer, left, options.images_at_once):
            result_files.show(result, options.json)
            if "error" in result:
                failures.append(result)
            else:
                result_files.write_beside(result, options, strips)
            # Last: a row says that all of the image is done.
            for table in tables:
                table.add(result)
    result_files.report_failures(failures, len(left))
    if failures and len(failures) == len(left):
        return config.WRONG_USE
    return config.SOME_FAILED if failures else config.DONE


def load(options, decoding):
    """The function that writes prompts; of a run, also what draws its attention."""
    # Each imports what the others do without: Keras takes seconds, gRPC is an extra.
    if options.server is not None:
        from tf_prompt.client import writer

        return writer.connect(options, decoding), None
    if options.saved_model is not None:
        from tf_prompt import prediction

        return prediction.load_saved_model(options.saved_model, decoding), None
    from tf_prompt import run_writers

    return run_writers.load_with_attention(
        options.run_dir, decoding, options.bank, options.attention
    )


if __name__ == "__main__":
    sys.exit(main())
