"""What the commands of `tuner model` are given alike."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

Model = Annotated[Path, typer.Argument(help="The model's .onnx file.", show_default=False)]
Dim = Annotated[
    list[str] | None,
    typer.Option("--dim", help="Size of a symbolic dimension, as N=8; repeatable.", show_default=False),
]
Inputs = Annotated[
    Path | None, typer.Option(help=".npz file with inputs of the model, by name.", show_default=False)
]


def parse_dims(given: "Sequence[str]") -> dict[str, int]:
    """`N=8` as {"N": 8}.

    Raises:
        TunerError: it is no name and size, or a name has two.
    """
    from tuner.core.errors import TunerError

    found: dict[str, int] = {}
    for text in given:
        name, _, size = text.rpartition("=")
        if (
            not name
            or not size.isascii()
            or not size.isdigit()
            or not 1 <= int(size[:10]) <= 2**20
            or len(size) > 9
        ):
            raise TunerError(f"--dim {text}: give a name and a size from 1 to {2**20}, as N=8")
        if found.setdefault(name, int(size)) != int(size):
            raise TunerError(f"--dim {name} is given twice")
    return found
