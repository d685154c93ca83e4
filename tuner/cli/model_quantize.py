"""`tuner model quantize`: a float model to 8 bits, by ONNX Runtime's quantizer."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli._model import Model
from tuner.cli.common import Json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuner.model.quantizing import Quantized


def quantize(
    model: Model,
    calibration: Annotated[
        Path,
        typer.Option(help=".npz file of inputs by name, with a leading axis of samples.", show_default=False),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write. Default: MODEL.int8.onnx.", show_default=False),
    ] = None,
    per_channel: Annotated[
        bool, typer.Option("--per-channel", help="A scale for each output channel of weights.")
    ] = False,
    dynamic: Annotated[
        bool,
        typer.Option(
            "--dynamic", help="Scales of activations in each run, from their values; products only."
        ),
    ] = False,
    reduce_range: Annotated[
        bool, typer.Option("--reduce-range", help="7-bit weights, for CPUs without VNNI.")
    ] = False,
    json: Json = False,
) -> None:
    """Quantize a float model to 8 bits (ONNX Runtime's quantizer), and say how far its outputs move.

    Both models run on all calibration data; every output's difference is printed.
    """
    from tuner.cli.common import print_json, say
    from tuner.engine.candidate.devices import default_device
    from tuner.model.quantizing import Way, may_saturate, quantize_model

    out = output or model.with_name(f"{model.stem}.int8.onnx")
    target, way = default_device(None).target, Way(dynamic, per_channel, reduce_range)
    found = quantize_model(model, calibration, out, way, int(target.limits["cores"]))
    if json:
        print_json(_plain(found))
        return
    for line in _lines(found):
        say(line)
    if may_saturate(target.features, way):
        say(
            "this CPU has no VNNI: ONNX Runtime's products of uint8 and int8 may saturate: try --reduce-range"
        )


def _plain(found: "Quantized") -> dict[str, Any]:
    import math

    def number(value: float) -> float | None:
        return value if math.isfinite(value) else None

    outputs = [
        {"name": a.name, "largest_difference": number(a.largest), "rms": number(a.rms),
         "signal_to_noise_db": number(a.noise_db), "same_largest_element": a.same_top, "finite": a.finite}
        for a in found.apart
    ]  # fmt: skip
    return {
        "model": str(found.path), "runs": found.samples, "quantized_nodes": dict(found.quantized_nodes),
        "outputs": outputs, "bytes_before": found.bytes_before, "bytes_after": found.bytes_after,
    }  # fmt: skip


def _lines(found: "Quantized") -> "Iterator[str]":
    from tuner.cli.common import aligned

    nodes = ", ".join(f"{op} {count}" for op, count in found.quantized_nodes.items())
    before, after = (size / 2**20 for size in (found.bytes_before, found.bytes_after))
    yield f"{found.path}: {before:.3g} MiB became {after:.3g} MiB; {nodes}"
    rows = [
        [a.name, f"{a.largest:.2%}", f"{a.rms:.2%}", f"{a.noise_db:.1f} dB",
         "-" if a.same_top is None else f"{a.same_top:.1%}", "" if a.finite else "not finite"]
        for a in found.apart
    ]  # fmt: skip
    head = ["output", "largest difference", "rms", "signal to noise", "same largest element", ""]
    yield ""
    title = f"from the float model, on {found.samples} runs of the calibration data"
    yield from aligned(head, rows, "lrrrrl", {0: title})
