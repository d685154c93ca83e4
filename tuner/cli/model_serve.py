"""`tuner model serve`: ONNX models behind the protocol that Triton speaks."""

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli._model import Dim, parse_dims
from tuner.cli.common import Db, Host

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.model.serving.loading import Served

EXAMPLES = """
Examples:

  tuner model serve resnet50.onnx

  tuner model serve resnet50.onnx text=bert.onnx --dim sequence=128 --share text=2

  tuner model serve resnet50.onnx --executor onnxruntime --max-batch 16 --max-delay-ms 5
"""
_VARIABLE = "TUNER_SERVE_TOKEN"
_EXECUTORS = ("tuned", "onnxruntime")


def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            help="The models' .onnx files, each as MODEL.onnx or NAME=MODEL.onnx.", show_default=False
        ),
    ],
    dim: Dim = None,
    executor: Annotated[
        str, typer.Option(help="What runs the models: tuned (kernels of the database) or onnxruntime.")
    ] = "tuned",
    max_batch: Annotated[
        int, typer.Option(min=1, max=1024, help="Rows of the largest batch that requests are put into.")
    ] = 8,
    max_delay_ms: Annotated[
        float, typer.Option(min=0, max=10_000, help="For how long a request waits for others.")
    ] = 1.0,
    max_queue: Annotated[
        int,
        typer.Option(min=1, max=2**20, help="Rows that may wait for each model; further ones are refused."),
    ] = 256,
    share: Annotated[
        list[str] | None,
        typer.Option(
            help="A model's share of the machine where several have work, as NAME=2; others have 1.",
            show_default=False,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPU threads of each run. Default: all cores, or an instance's part."),
    ] = None,
    instances: Annotated[
        int, typer.Option(min=1, max=64, help="Batches that run at a time, each on its part of the cores.")
    ] = 1,
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any free one.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar=_VARIABLE,
            help="What clients have to send as 'Authorization: Bearer TOKEN', of 16 characters or more; "
            f"'new' makes one. Others on this machine can read a command's arguments: {_VARIABLE} is safer.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(help="A further host name that clients use for this server.", show_default=False),
    ] = None,
    db: Db = None,
) -> None:
    """Serve models over the KServe v2 protocol, as NVIDIA Triton does; requests are put into batches."""
    from importlib.metadata import version

    from tuner.cli.common import say
    from tuner.core.brief import brief
    from tuner.core.errors import TunerError

    paths, shares = named_models(models), parse_shares(share or ())
    if not math.isfinite(max_delay_ms):
        raise TunerError("--max-delay-ms nan: give milliseconds, as 2")
    if executor not in _EXECUTORS:
        raise TunerError(f"--executor {brief(executor)}: give {' or '.join(_EXECUTORS)}")
    try:
        from tuner.model.serving.server import Rules, scheduled
        from tuner.model.serving.server import serve as run
        from tuner.model.serving.teams import apart, spin_briefly
        from tuner.serve.address import Address, listening, url_of
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "tuner":
            raise
        raise TunerError(
            f"tuner model serve needs {error.name}: pip install 'kernel-tuner-lab[serve,model]'"
        ) from None
    if token == "new":
        import secrets

        token = secrets.token_urlsafe(24)
    for unknown in shares.keys() - paths.keys():
        raise TunerError(f"--share {unknown}: no model is called so: {', '.join(paths)}")
    address = Address(host, port, token, tuple(name or ()))
    found = listening(address)
    spin_briefly()
    ready_models = apart(
        lambda: _loaded(paths, dim or (), max_batch, instances, threads, db if executor == "tuned" else False)
    )
    scheduler = scheduled(ready_models, Rules(max_delay_ms / 1e3, max_queue, shares, instances))

    def ready() -> None:
        for waiting in scheduler.models.values():
            say(_line(waiting.model, waiting.share, max_delay_ms, len(paths), instances))
        say(f"serving at {url_of(found, address)}v2  (Ctrl-C drains and ends it)")
        if token:
            say(f"clients send the header Authorization: Bearer {token}")
            say("the token goes over the network as it is: use an SSH tunnel where others can listen")
        sys.stdout.flush()

    run(scheduler, found, address, version("kernel-tuner-lab"), ready)


def named_models(given: "Sequence[str]") -> dict[str, Path]:
    """Paths by the models' names: `NAME=PATH`, or a path whose stem is the name.

    Raises:
        TunerError: a name is given twice, or is none that an address can have.
    """
    import re

    from tuner.core.brief import brief
    from tuner.core.errors import TunerError

    found: dict[str, Path] = {}
    for text in given:
        before, _, path = text.partition("=")
        name = before if path and not _is_file(text) else Path(text).stem
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", name) or name.strip(".") == "" or name == "stats":
            raise TunerError(
                f"{brief(text, 100)}: a model's name is of letters, digits, '_', '-' and '.', and not "
                "'stats': give one, as NAME=MODEL.onnx"
            )
        if name in found:
            raise TunerError(f"two models are called {name}: give one another name, as NAME=MODEL.onnx")
        found[name] = Path(path if name == before and path else text)
    return found


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # a name that is too long, or of no characters that a file can have
        return False


def parse_shares(given: "Sequence[str]") -> dict[str, float]:
    """`NAME=2` as {"NAME": 2.0}.

    Raises:
        TunerError: it is no name and positive number, or a name has two.
    """
    from tuner.core.brief import brief
    from tuner.core.errors import TunerError

    found: dict[str, float] = {}
    for text in given:
        name, _, number = text.rpartition("=")
        try:
            share = float(number)
        except ValueError:
            share = math.nan
        if not name or not 1e-3 <= share <= 1e3:
            raise TunerError(
                f"--share {brief(text, 100)}: give a name and a number from 0.001 to 1000, as NAME=2"
            )
        if found.setdefault(name, share) != share:
            raise TunerError(f"--share {name} is given twice")
    return found


def _loaded(
    paths: "dict[str, Path]", dim: "Sequence[str]", most: int, instances: int, threads: int | None,
    db: "str | bool | None",
) -> "list[Served]":  # fmt: skip
    """The models with their executors.

    Args:
        paths: by the models' names.
        dim: sizes of symbolic dimensions, as the user gave them.
        most: rows of the largest batch.
        instances: of each model.
        threads: of each run; `None`: an instance's part of the cores.
        db: is False where ONNX Runtime runs them.
    """
    from contextlib import nullcontext

    from tuner.core.errors import TunerError
    from tuner.engine.candidate.devices import default_device
    from tuner.model.serving.loading import Maker, load, symbols, threads_each
    from tuner.store.store import open_store

    device, dims = default_device(None), parse_dims(dim)
    usable = threads_each(device, threads, instances)
    known = set[str]().union(*(symbols(path) for path in paths.values()))
    for unknown in dims.keys() - known:
        raise TunerError(f"--dim {unknown}: no model has a symbolic dimension of this name")
    with nullcontext() if isinstance(db, bool) else open_store(db, read_only=True) as store:
        maker = Maker(usable, device, store)

        def tell(text: str) -> None:
            print(text, file=sys.stderr, flush=True)

        for path in paths.values():
            maker.check(path, dims)  # all of them before the first is built, which may take minutes
        return [load(name, path, dims, most, maker, tell, instances) for name, path in paths.items()]


def _line(model: "Served", share: float, delay_ms: float, models: int, instances: int) -> str:
    part = f"; share {share:g}" if models > 1 else ""
    part += f"; {instances} instances" if instances > 1 else ""
    if not model.batches:
        return f"{model.name}: by {model.note}; requests run one by one: {model.why_alone}{part}"
    batches = ", ".join(map(str, model.batches))
    return f"{model.name}: by {model.note}; batches of {batches}, filled for up to {delay_ms:g} ms{part}"
