"""The page itself: its layout and events."""

import pathlib
import signal
import warnings
from collections.abc import Sequence

from tf_prompt.data import listing
from tf_prompt.demo import describing, limits, markup
from tf_prompt.demo.handlers import HINT, Handlers

try:
    with warnings.catch_warnings():
        # pydub, which Gradio imports for audio, warns about missing ffmpeg.
        warnings.simplefilter("ignore")
        import gradio as gr
        from starlette.middleware import Middleware
except ImportError as error:
    raise ValueError(
        'the web page needs an extra: pip install "tf_prompt[demo]"'
    ) from error

_STYLE = pathlib.Path(__file__).with_name("page.css")
# Gradio's default theme loads fonts from Google's servers.
_FONTS = {
    "font": ["system-ui", "sans-serif"],
    "font_mono": ["ui-monospace", "monospace"],
}
_ONE_AT_A_TIME = {"concurrency_id": "models", "concurrency_limit": 1}
# Seconds between clean-ups of uploads, and their lifetime.
_CACHE = (600, 3600)


def build_page(
    describer: describing.Describer,
    folder: str | pathlib.Path,
    examples: Sequence[pathlib.Path],
    options,
) -> "gr.Blocks":
    """Builds the page.

    Args:
        describer: computes the results.
        folder: Gradio's folder of uploads.
        examples: example images.
        options: `demo.__main__.DemoConfig`.
    """
    handlers = Handlers(describer, folder, options.max_files)
    title = "From image to prompt"
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=_CACHE) as page:
        gr.Markdown(f"# {title}\nModels: {', '.join(describer.names)}")
        with gr.Tab("One image"):
            _build_single(handlers, describer, examples)
        with gr.Tab("Batch"):
            _build_batch(handlers)
    # Direct calls are disabled, because they would bypass the queue.
    page.queue(max_size=options.queue, api_open=False, default_concurrency_limit=1)
    return page


def _build_single(handlers, describer, examples):
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            image = gr.Image(
                type="filepath",
                image_mode=None,
                sources=["upload", "clipboard"],
                label="Image",
                height=300,
                buttons=["fullscreen"],
                elem_id="image",
            )
            if examples:
                gr.Examples([[str(path)] for path in examples], image)
        with gr.Column(scale=len(describer.names) + 1, min_width=300):
            message = gr.HTML(markup.hint(HINT), elem_id="message")
            results, parts = _build_results(describer)
    _refuse_addresses(image)

    def show(upload):
        shown = handlers.show(upload)
        models = shown.models or [("", "")] * len(describer.names)
        return [
            # Browsers would show a file that is not an image as a broken one.
            gr.Image(elem_classes="tfp-torn" if shown.is_error else ""),
            gr.HTML(shown.message, visible=bool(shown.message)),
            gr.Column(visible=bool(shown.models)),
            *(part for model in models for part in model),
            shown.phrases,
        ]

    image.change(
        show,
        image,
        [image, message, results, *parts],
        # Gradio's own preprocessing would fail with a traceback.
        preprocess=False,
        show_progress_on=[message, results],
        api_visibility="private",
        **_ONE_AT_A_TIME,
    )


def _build_results(describer):
    """Builds the part that is hidden until there is a result."""
    parts = []
    with gr.Column(visible=False) as results:
        with gr.Row():
            for name in describer.names:
                with gr.Column(min_width=280):
                    parts += _build_model(name)
        with gr.Column(visible=describer.has_interrogator):
            gr.Markdown("### Phrases of the interrogator")
            parts.append(gr.HTML(elem_id="phrases"))
    return results, parts


def _build_model(name):
    prompt = gr.Textbox(
        label=f"Prompt by {name}",
        lines=2,
        interactive=False,
        buttons=["copy"],
        elem_classes="prompt",
    )
    return [prompt, gr.HTML(elem_classes="written")]


def _build_batch(handlers):
    files = gr.File(
        file_count="multiple",
        file_types=list(listing.SUFFIXES),
        label="Images",
        height=200,
        elem_id="files",
    )
    with gr.Row():
        start = gr.Button("Write prompts", variant="primary", elem_id="start")
        download = gr.DownloadButton("Download CSV", interactive=False, elem_id="csv")
    table = gr.HTML(elem_id="table")
    _refuse_addresses(files)

    def write_batch(uploads):
        for content, path in handlers.write_batch(uploads):
            yield content, gr.DownloadButton(value=path, interactive=path is not None)

    start.click(
        write_batch,
        files,
        [table, download],
        preprocess=False,
        api_visibility="private",
        **_ONE_AT_A_TIME,
    )


def _refuse_addresses(component) -> None:
    """Accepts uploads only, because Gradio would fetch any address in a payload."""
    move = component.async_move_resource_to_block_cache

    async def move_upload(place):
        if place and "://" in str(place):
            raise gr.Error("Only uploaded files are read.")
        return await move(place)

    component.async_move_resource_to_block_cache = move_upload


def serve(page: "gr.Blocks", options) -> None:
    """Serves the page until Ctrl-C.

    Args:
        page: of `build_page`.
        options: `demo.__main__.DemoConfig`.

    Raises:
        OSError: if the port is taken.
    """
    limit = options.max_files * options.max_upload_mb * 2**20
    middleware = [Middleware(limits.BodyLimit, max_upload_bytes=limit)]
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
            "host and port must belong to this machine and be free. "
            f"Received: {options.host}:{options.port}"
        ) from error
    # As by Ctrl-C, so that uploads are deleted in either case.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(f"{address}  (Ctrl-C stops)", flush=True)
    page.block_thread()
