"""`tuner model int8`: a float model beside its quantized one, layer by layer."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli._model import Dim, Inputs, Model, parse_dims
from tuner.cli.common import Db, Json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuner.model.int8_table import Int8Table, Side, Whole


def int8(
    model: Model,
    quantized: Annotated[Path, typer.Argument(help="Its quantized model's .onnx file.", show_default=False)],
    dim: Dim = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads. Default: all cores.")] = None,
    inputs: Inputs = None,
    db: Db = None,
    json: Json = False,
) -> None:
    """Say layer by layer whether f32 or int8 is faster, by ONNX Runtime's profile and by stored kernels.

    All times are measured; the reason beside them is a rule's, from the layer's bytes, FLOPs and the target.
    """
    import contextlib
    import sys

    from tuner.cli.common import print_json, say
    from tuner.engine.candidate.devices import default_device
    from tuner.engine.tuning.campaign import default_protocol
    from tuner.model.guards import require_file
    from tuner.model.int8_table import int8_table
    from tuner.store.errors import StoreMissing
    from tuner.store.store import open_store

    for named in (model, quantized):
        require_file(named)
    device = default_device(None)
    protocol = default_protocol(device, threads=threads)
    with contextlib.ExitStack() as stack:
        try:
            store = stack.enter_context(open_store(db, read_only=True))
        except StoreMissing:
            # Nothing is tuned yet: ONNX Runtime's times are an answer too. A name that was given is a slip.
            if db is not None:
                raise
            store = None
        found = int8_table(
            (model, quantized), parse_dims(dim or ()), store, device, protocol.threads, inputs,
            lambda text: None if json else print(text, file=sys.stderr),
        )  # fmt: skip
    if json:
        print_json(_plain(found))
        return
    for line in _lines(found):
        say(line)


def _plain(found: "Int8Table") -> dict[str, Any]:
    def side(of: "Side | None") -> dict[str, Any] | None:
        if of is None:
            return None
        return {
            "workload": of.workload.key, "onnxruntime_profile_s": of.runtime_s or None,
            "kernel": of.kernel or None, "kernel_s": of.kernel_s, "bytes": of.nbytes,
        }  # fmt: skip

    def whole(of: "Whole") -> dict[str, float]:
        return {"onnxruntime_s": of.model_s, "rest_s": of.rest_s, "quantizing_s": of.quantizing_s}

    layers = [
        {"name": p.name, "f32": side(p.f32), "int8": side(p.int8), "wins": p.wins or None, "why": p.why}
        for p in found.pairs
    ]
    return {
        "evidence": "measured", "why": "a rule from the facts of each layer", "vnni": found.vnni,
        "disturbed": found.disturbed or None, "layers": layers,
        "f32": whole(found.f32), "int8": whole(found.int8),
    }  # fmt: skip


def _lines(found: "Int8Table") -> "Iterator[str]":
    from tuner.cli.common import aligned, seconds

    def times(of: "Side | None") -> list[str]:
        if of is None:
            return ["-", "-"]
        return [seconds(of.runtime_s) if of.runtime_s else "-",
                f"{seconds(of.kernel_s)} {of.kernel}" if of.kernel_s else "-"]  # fmt: skip

    rows = []
    for pair in found.pairs:
        (runtime, kernel), (runtime8, kernel8) = times(pair.f32), times(pair.int8)
        dims = "-".join(f"{name}{size}" for name, size in pair.f32.workload.dims)
        rows.append([pair.name, f"{pair.f32.workload.operator} {dims}", runtime, runtime8, kernel, kernel8,
                     pair.wins or "-", pair.why])  # fmt: skip
    head = [
        "layer",
        "of",
        "ONNX Runtime f32",
        "ONNX Runtime int8",
        "kernel f32",
        "kernel int8",
        "faster",
        "why",
    ]
    yield ""
    yield from aligned(head, rows, "llrrrrll", {0: "one call of each layer"})
    yield ""
    wins = [pair.wins for pair in found.pairs]
    yield (
        f"of {len(wins)} layers {wins.count('int8')} are faster in int8, {wins.count('f32')} in f32, "
        f"{wins.count('even')} even; VNNI in the target: {'yes' if found.vnni else 'no'}"
    )
    if found.disturbed:
        yield f"disturbed: {found.disturbed}: run it again when the machine is quiet"
    for name, of in (("f32", found.f32), ("int8", found.int8)):
        yield (
            f"a run in ONNX Runtime, {name}: {seconds(of.model_s)} measured; in no layer "
            f"{seconds(of.rest_s)} of its profile, {seconds(of.quantizing_s)} of that quantizing and "
            "dequantizing"
        )
