"""The same conversion as `write_records`, as an Apache Beam job on many machines."""

import contextlib
import dataclasses
import io
import itertools
import logging
import os
import sys
import typing
from collections.abc import Iterator, Sequence

from pipelines.options import Conversion, WriteOptions
from tf_prompt.files import read_json
from tf_prompt.options import command, import_tensorflow, parse_args, take_options

EXAMPLES = (
    "python -m pipelines.beam --source diffusiondb --output shards",
    "python -m pipelines.beam --source DIR --output DIR --runner DirectRunner "
    "--direct_num_workers 2",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BeamConfig(WriteOptions):
    """Converts a source to TFRecord shards on Apache Beam; other flags are Beam's."""


@command
def main(argv=None) -> int:
    """Runs the command and returns its exit code."""
    ours, beams = separate_flags(sys.argv[1:] if argv is None else argv)
    config = parse_args(BeamConfig, ours, "beam", EXAMPLES)
    options = parse_beam_flags(beams)
    import_tensorflow()
    from pipelines.convert import stats_path
    from pipelines.folder import finish, prepare_folder
    from pipelines.options import complete
    from pipelines.sources import open_options

    # Decisions over all rows are made where the parts are listed.
    source = open_options(config)
    config = complete(config, source.is_curated)
    prepare_folder(source, config, prog="beam")
    for note in source.notes:
        print(f"beam: {note}", file=sys.stderr)
    run_job(config, options)
    paths = [stats_path(config.output, index) for index in range(len(source))]
    stats = [read_json(path) for path in paths]
    return finish(source, config, stats, prog="beam")


def separate_flags(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Takes the flags of `BeamConfig` out of a command line.

    Args:
        argv: arguments, ours and Beam's in any order.

    Returns:
        Our flags with their values, including `--help`, and all others.
    """
    hints = typing.get_type_hints(BeamConfig)
    takes_value = {"--help": False, "-h": False}
    for field in dataclasses.fields(BeamConfig):
        name = field.name.replace("_", "-")
        takes_value[f"--{name}"] = hints[field.name] not in (bool, bool | None)
        takes_value[f"--no-{name}"] = False
    ours, others = [], []
    words = iter(argv)
    for word in words:
        name, equals, _ = word.partition("=")
        (ours if name in takes_value else others).append(word)
        if takes_value.get(name) and not equals:
            ours.extend(itertools.islice(words, 1))
    return ours, others


def parse_beam_flags(flags: Sequence[str]):
    """Converts flags to Beam's `PipelineOptions`, but more strictly than Beam does.

    Raises:
        ValueError: if a flag is unknown or its value is wrong, or if apache-beam is
            not installed.
    """
    from_beam = _import_beam().options.pipeline_options
    parsers, said = [], io.StringIO()
    try:
        with contextlib.redirect_stderr(said), _no_warnings():
            options = from_beam.PipelineOptions(list(flags))
            options.get_all_options(add_extra_args_fn=parsers.append)
            _, unknown = parsers[0].parse_known_args(flags)
    except SystemExit as error:
        message = said.getvalue().strip().rpartition("error: ")[2]
        raise ValueError(f"a flag of Apache Beam is wrong: {message}") from error
    if unknown:
        raise ValueError(
            "a flag must be one of --help or of Apache Beam. "
            f"Received: {' '.join(unknown)}"
        )
    # Otherwise DirectRunner would first download another program, Prism, to run the
    # job. The job has no triggers.
    options.view_as(from_beam.TypeOptions).allow_unsafe_triggers = True
    return options


def run_job(config: BeamConfig, beam_options) -> None:
    """Converts the parts that are not done yet, and waits.

    Args:
        config: source, output and filters. Both paths must mean the same files on
            every machine.
        beam_options: from `parse_beam_flags`.

    Raises:
        OSError: if the job fails.
    """
    beam = _import_beam()
    output = os.path.abspath(config.output)
    # Not a `BeamConfig`: run with -m, this module is `__main__`, unknown to workers.
    options = dataclasses.replace(
        take_options(WriteOptions, config), source=os.path.abspath(config.source)
    )
    conversion = take_options(Conversion, config)
    pipeline = beam.Pipeline(options=beam_options)
    # Parts are listed on the workers, because all rows of the metadata are too large
    # for the description of a job.
    (
        pipeline
        | "source" >> beam.Create([options])
        | "list parts" >> beam.FlatMap(list_parts)
        | "spread" >> beam.Reshuffle()
        | "convert" >> beam.Map(convert_once, output, conversion)
    )
    try:
        state = pipeline.run().wait_until_finish()
    # Each runner has its own errors; RuntimeError is what they have in common.
    except RuntimeError as error:
        raise OSError(f"the job failed: {_cause_of(error)}") from error
    if state != beam.runners.runner.PipelineState.DONE:
        raise OSError(f"the job must end DONE. Received: {state}")


def list_parts(options: WriteOptions) -> Iterator:
    """Lists the parts of a source, on a worker.

    Args:
        options: options of the command.

    Yields:
        `Part`s.
    """
    from pipelines.planning import open_planned

    source, _ = open_planned(options, os.cpu_count() or 1)
    yield from source.parts()


def convert_once(part, folder: str, conversion: Conversion) -> int:
    """Converts a part on a worker, unless it is done already.

    Args:
        part, folder, conversion: as in `convert.convert_part`.

    Returns:
        The number of the part.
    """
    from pipelines.convert import convert_part, read_done

    if read_done(part, folder, conversion) is None:
        convert_part(part, folder, conversion)
    return part.index


def _import_beam():
    try:
        # Beam warns about every optional package that it does not find.
        with _no_warnings():
            import apache_beam
            import apache_beam.options.pipeline_options
    except ImportError as error:
        raise ValueError(
            'beam needs an extra: pip install "tf_prompt[ingest]"'
        ) from error
    return apache_beam


@contextlib.contextmanager
def _no_warnings():
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _cause_of(error: RuntimeError) -> str:
    # Beam wraps the traceback of a worker as text; its last line is the cause.
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else repr(error)


if __name__ == "__main__":
    sys.exit(main())
