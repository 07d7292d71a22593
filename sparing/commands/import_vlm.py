"""Options of `sparing import-vlm`."""

from pathlib import Path
from typing import Annotated

import typer

NEEDED = frozenset({"torch", "safetensors", "transformers", "huggingface_hub"})


def import_vlm(
    name: Annotated[str, typer.Argument(help="The route's name.")],
    model: Annotated[
        str,
        typer.Option(
            help="A directory as save_pretrained writes it, with tokenizer, image processor and "
            "chat template; or a name on the Hugging Face hub, from which it is downloaded."
        ),
    ],
    picture: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="PX", help="Side of the pictures. [dim]Default: the vision part's.[/]"
        ),
    ] = None,
    drops: Annotated[
        str,
        typer.Option(
            metavar="LAYERS",
            help="Layers before which visual tokens are dropped, as in 2,8,16. "
            "[dim]Default: at each quarter of the depth.[/]",
        ),
    ] = "",
    context: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Tokens of a prompt and its answer, at most. [dim]Default: the pictures', and "
            "1,024 more.[/]",
        ),
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of an answer, at most.")] = 512,
    batch: Annotated[int, typer.Option(min=1, help="Chats that are computed together.")] = 4,
    pictures: Annotated[int, typer.Option(min=0, max=64, help="Pictures of a chat, at most.")] = 1,
    out: Annotated[Path, typer.Option(help="Write the route into this folder.")] = Path("models"),
) -> None:
    """Make a route of a vision-language model: LLaVA-1.5, LLaVA-NeXT or Qwen2.5-VL.

    Reads safetensors only. The files are linked into the route where the file
    system allows it. The server answers chats, and each request says how many
    visual tokens it pays for.

    [bold]sparing import-vlm llava --model llava-hf/llava-1.5-7b-hf[/]

    [bold]sparing import-vlm own --model finetuned/ --picture 448 --drops 2,8,16[/]
    """
    from sparing.failure import Failure
    from sparing.recipes import failing_on_own_models

    try:
        from importing.published.vision_language import Wanted, write_route

        wanted = Wanted(picture, _read_layers(drops), context, pictures, max_tokens, batch)
        with failing_on_own_models():
            written = write_route(model, name, out, wanted)
        print(written.directory)
        megabytes = written.state_bytes / 1e6
        print(
            f"Keys and values of the longest chat take {megabytes:,.0f} MB on this device. The "
            "server keeps engine.state_limit_bytes for all chats together, 268 MB by default."
        )
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in NEEDED:
            raise
        raise Failure(
            f"this needs {error.name}, which is not installed: run make setup, or pip install "
            "'.[vlm]'"
        ) from error


def _read_layers(given: str) -> list[int]:
    try:
        return [int(one) for one in given.split(",") if one]
    except ValueError:
        raise typer.BadParameter(
            f"given {given!r}, allowed are numbers of layers with commas between them",
            param_hint="--drops",
        ) from None
