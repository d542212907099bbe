"""The page: its layout, and the handlers of its events."""

import itertools
import pathlib
import signal
import warnings
from collections.abc import Callable, Sequence

from tf_prompt.data import listing
from tf_prompt.demo import describing, markup
from tf_prompt.demo.handlers import HINT, WAIT, Handlers
from tf_prompt.serving.http import limits

try:
    with warnings.catch_warnings():
        # pydub, which Gradio imports for sound, misses ffmpeg.
        warnings.simplefilter("ignore")
        import gradio as gr
        from starlette.middleware import Middleware
except ImportError as error:
    raise ValueError(
        'the web page needs an extra: pip install "tf_prompt[demo]"'
    ) from error

_STYLE = pathlib.Path(__file__).with_name("page.css")
# Gradio's own theme loads fonts from Google's servers.
_FONTS = {
    "font": ["system-ui", "sans-serif"],
    "font_mono": ["ui-monospace", "monospace"],
}
# The files of a batch, in the order of `Handlers.write_batch`, by their element's name.
_DOWNLOADS = {"csv": "CSV", "jsonl": "JSON lines", "zip": "ZIP"}
_BATCH_HINT = (
    "Choose pictures, and their prompts appear here. The ZIP has each picture with its "
    "prompt inside, and beside it in a text file."
)
_ONE_AT_A_TIME = {"concurrency_id": "models", "concurrency_limit": 1}
# Bytes of what the page sends besides files: names, places and events.
_MAX_OTHER = 2**20
# Seconds: how often uploads are checked, and after how long they are deleted.
_CACHE = (600, 3600)


def build_page(
    describer: describing.Describer,
    folder: str | pathlib.Path,
    examples: Sequence[pathlib.Path],
    options,
) -> "gr.Blocks":
    """Lays out the page.

    Args:
        describer: `Describer`.
        folder: Gradio's folder of uploads.
        examples: images to choose from.
        options: `demo.__main__.DemoConfig`.
    """
    handlers = Handlers(describer, folder, options.max_files)
    title = "From picture to prompt"
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=_CACHE) as page:
        gr.Markdown(f"# {title}\nModels: {', '.join(describer.names)}")
        form = _build_form(handlers.fields)
        with gr.Tab("One picture"):
            _build_single(handlers, describer, examples, form)
        with gr.Tab("Batch"):
            _build_batch(handlers, form)
    # No direct calls, which would bypass the queue.
    page.queue(max_size=options.queue, api_open=False, default_concurrency_limit=1)
    return page


def _build_form(fields):
    """Lays out the form for the wording of prompts, shared by both tabs."""
    parts = []
    with gr.Accordion("Wording of the prompts", open=False, elem_id="wording"):
        for _, row in itertools.groupby(fields, lambda field: field.row):
            with gr.Row():
                parts += [_build_field(field) for field in row]
    return parts


def _build_field(field):
    shared = {"label": field.label, "info": field.hint, "value": field.default}
    shared |= {"elem_id": field.name, "min_width": 200}
    if field.is_number:
        return gr.Number(precision=0, minimum=0, **shared)
    return gr.Textbox(lines=2 if field.is_list else 1, max_lines=6, **shared)


def _build_single(handlers, describer, examples, form):
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            picture = gr.Image(
                type="filepath",
                image_mode=None,
                sources=["upload", "clipboard"],
                label="Picture",
                height=340,
                buttons=["fullscreen"],
                elem_id="picture",
            )
            if examples:
                gr.Examples([[str(path)] for path in examples], picture)
        with gr.Column(scale=3 * len(describer.names), min_width=300):
            message = gr.HTML(markup.hint(HINT), elem_id="message")
            results, said, prompts, parts = _build_results(describer)
    _refuse_addresses(picture)
    kept = gr.State([])

    def show(upload, *values):
        if upload is not None and not describer.is_ready:
            nothing = [gr.skip()] * (len(prompts) + len(parts) + 4)
            yield [gr.HTML(markup.hint(WAIT), visible=True), *nothing]
        shown = handlers.show(upload, values)
        models = shown.models or [("", "")] * len(describer.names)
        yield [
            gr.HTML(shown.message, visible=bool(shown.message)),
            # Browsers show a file that is not an image as a broken one.
            gr.Image(elem_classes="tfp-torn" if shown.is_error else ""),
            gr.Column(visible=bool(shown.models)),
            gr.HTML(shown.embedded, visible=bool(shown.embedded)),
            shown.results,
            *(prompt for prompt, _ in models),
            *(html for _, html in models),
            shown.phrases,
        ]

    picture.change(
        show,
        [picture, *form],
        [message, picture, results, said, kept, *prompts, *parts],
        # Gradio's own reading of the file would fail with a traceback.
        preprocess=False,
        show_progress_on=[message, results],
        api_visibility="private",
        **_ONE_AT_A_TIME,
    )

    _reword_later(handlers, form, kept, message, prompts)


def _reword_later(handlers, form, kept, message, prompts):
    """Formats prompts again when the form changes; no model runs."""

    def reword(rows, *values):
        if not rows:
            return [gr.skip()] * (1 + len(prompts))
        wrong, texts = handlers.reword(rows, values)
        return [gr.HTML(wrong, visible=bool(wrong)), *texts]

    for part in form:
        part.change(
            reword,
            [kept, *form],
            [message, *prompts],
            show_progress="hidden",
            api_visibility="private",
        )


def _build_results(describer):
    """Lays out the results, hidden until there are some."""
    prompts, parts = [], []
    with gr.Column(visible=False) as results:
        said = gr.HTML(visible=False, elem_id="said", padding=False)
        with gr.Row():
            for name in describer.names:
                with gr.Column(min_width=280):
                    prompts.append(_build_prompt(name))
                    parts.append(gr.HTML(elem_classes="written"))
        with gr.Column(visible=describer.has_interrogator):
            gr.Markdown("### Phrases of the interrogator")
            parts.append(gr.HTML(elem_id="phrases"))
    return results, said, prompts, parts


def _build_prompt(name):
    return gr.Textbox(
        label=f"Prompt by {name}",
        lines=2,
        interactive=False,
        buttons=["copy"],
        elem_classes="prompt",
    )


def _build_batch(handlers, form):
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            files = gr.File(
                file_count="multiple",
                file_types=list(listing.SUFFIXES),
                label="Pictures",
                height=240,
                elem_id="files",
            )
            start = gr.Button("Write prompts", variant="primary", elem_id="start")
            with gr.Row():
                downloads = [
                    gr.DownloadButton(
                        label, interactive=False, elem_id=name, size="md", min_width=90
                    )
                    for name, label in _DOWNLOADS.items()
                ]
        with gr.Column(scale=5, min_width=300):
            table = gr.HTML(markup.hint(_BATCH_HINT), elem_id="table")
    _refuse_addresses(files)

    def write_batch(uploads, *values):
        for content, paths in handlers.write_batch(uploads, values):
            ready = paths is not None
            yield [
                content,
                *(
                    gr.DownloadButton(value=path, interactive=ready)
                    for path in paths or [None] * len(_DOWNLOADS)
                ),
            ]

    start.click(
        write_batch,
        [files, *form],
        [table, *downloads],
        preprocess=False,
        api_visibility="private",
        **_ONE_AT_A_TIME,
    )


def _refuse_addresses(component) -> None:
    """Accepts uploads only: Gradio would fetch any address that a payload names."""
    move = component.async_move_resource_to_block_cache

    async def move_upload(place):
        if place and "://" in str(place):
            raise gr.Error("Only uploaded files are read.")
        return await move(place)

    component.async_move_resource_to_block_cache = move_upload


def serve(page: "gr.Blocks", options, start: Callable[[], None]) -> None:
    """Serves the page until Ctrl-C.

    Args:
        page: from `build_page`.
        options: `demo.__main__.DemoConfig`.
        start: starts the work in the background; called when the page is open, so that
            no native library is loaded while a thread computes.

    Raises:
        OSError: if the port is taken.
    """
    upload = options.max_files * options.max_upload_mb * 2**20 + limits.AROUND

    def limit_of(path):
        return upload if path.rstrip("/").endswith("/upload") else _MAX_OTHER

    middleware = [Middleware(limits.BodyLimit, limit_of=limit_of)]
    try:
        _, address, _ = page.launch(
            server_name=options.host,
            server_port=options.port,
            max_file_size=options.max_upload_mb * 2**20,
            app_kwargs={"middleware": middleware},
            share=False,
            quiet=True,
            show_error=True,
            ssr_mode=False,
            prevent_thread_lock=True,
            footer_links=[],
            theme=gr.themes.Default(**_FONTS),
            css_paths=_STYLE,
        )
    except OSError as error:
        raise OSError(
            "host and port must be this machine's and free. "
            f"Received: {options.host}:{options.port}"
        ) from error
    # As with Ctrl-C, so that uploads are deleted in either case.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(f"{address}  (Ctrl-C stops)", flush=True)
    start()
    page.block_thread()
