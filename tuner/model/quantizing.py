"""A float model quantized by ONNX Runtime's own quantizer, and how far its outputs are from the floats."""

import contextlib
import io
import logging
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tuner.core.brief import brief
from tuner.core.output_file import put
from tuner.core.scratch import Scratch
from tuner.model.calibration import Feed, read_calibration
from tuner.model.guards import ModelError, check, onnx_library, parse
from tuner.model.int8_reasons import VNNI
from tuner.model.runtime import onnxruntime_library, run, session

_QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul",
              "MatMulInteger", "ConvInteger")  # fmt: skip
# ONNX Runtime has no ConvInteger of int8 weights, and its dynamic convolutions are slower than f32.
_DYNAMIC = ["MatMul", "Gemm", "Attention", "LSTM", "Gather", "EmbedLayerNormalization"]


_LEAST_OPSET, _OPSET = 13, 17
_WARNINGS = 2  # ONNX Runtime's default: warnings and what is worse


@dataclass(frozen=True)
class Way:
    """How a model is quantized.

    Attributes:
        dynamic: activations get scales in each run, from their values; weights alone are quantized ahead.
        per_channel: a scale for each output channel of weights, not one for all.
        reduce_range: weights of 7 bits, for CPUs whose products of u8 and s8 saturate (without VNNI).
    """

    dynamic: bool = False
    per_channel: bool = False
    reduce_range: bool = False


@dataclass(frozen=True)
class Apart:
    """How far one output of the quantized model is from the float model's, over all calibration data.

    Attributes:
        name: of the output.
        largest: largest difference, as a share of the float output's largest element.
        rms: root of the mean squared difference, as a share of that of the float output's elements.
        noise_db: signal over noise, 20 log10(1 / rms); infinite for none.
        same_top: share of rows (along the last axis) whose largest element is at the same place; `None`
            where rows have one element or the output is no float.
        finite: whether the quantized model gave no NaN and no infinity where the float model gave none.
    """

    name: str
    largest: float
    rms: float
    noise_db: float
    same_top: float | None
    finite: bool


@dataclass(frozen=True)
class Quantized:
    """A model that was written.

    Attributes:
        path: of it.
        samples: runs that were compared.
        quantized_nodes: operators that take or give integers in it, and how many there are.
        apart: of each output.
        bytes_before, bytes_after: of the files.
    """

    path: Path
    samples: int
    quantized_nodes: Mapping[str, int]
    apart: Sequence[Apart]
    bytes_before: int
    bytes_after: int


def quantize_model(path: Path, calibration: Path, out: Path, way: Way, threads: int) -> Quantized:
    """Quantizes a float model to 8 bits, writes it and compares its outputs with the float model's.

    Args:
        path: of the float model.
        calibration: `.npz` file of its inputs, by name, with a leading axis of samples.
        out: where the quantized one goes.
        way: static (QDQ, activations uint8, weights int8) or dynamic.
        threads: of ONNX Runtime, for the comparison.

    Raises:
        ModelError: a file is not what it has to be, the model is quantized already, or has nothing that can
            be quantized.
        TunerError: `out` cannot be written.
        MissingExtra: `onnx` or `onnxruntime` is not installed.
    """
    onnx = onnx_library()
    onnxruntime_library()
    if out.resolve() == path.resolve():
        raise ModelError(f"{out}: is the float model itself: name another file with -o")
    model = parse(path)
    check(model, path)
    found = next((n.op_type for n in model.graph.node if n.op_type in _QUANTIZED), None)
    if found:
        raise ModelError(f"{path}: is quantized already, it has {found}: give the float model")
    feeds = read_calibration(model, path, calibration)
    onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
    model = _current(model, path)
    with Scratch("quantize") as folder:
        made = Path(folder) / "quantized.onnx"
        _quantize(model, path, made, feeds, way)
        content = made.read_bytes()
    quantized = onnx.load_model_from_string(content)
    nodes: dict[str, int] = {}
    for node in quantized.graph.node:
        if node.op_type in _QUANTIZED:
            nodes[node.op_type] = nodes.get(node.op_type, 0) + 1
    if not nodes:
        raise ModelError(f"{path}: ONNX Runtime's quantizer found nothing in it to quantize this way")
    apart = compare_outputs(model, quantized, feeds, threads)
    put(out, content)
    return Quantized(out, len(feeds), nodes, apart, model.ByteSize(), len(content))


def _current(model: Any, path: Path) -> Any:
    """The model with weights that are no inputs, and of a version of ONNX that has scales of channels."""
    onnx = onnx_library()
    stored = {tensor.name for tensor in model.graph.initializer}
    given = [value for value in model.graph.input if value.name not in stored]
    del model.graph.input[:]
    model.graph.input.extend(given)
    model.ir_version = max(model.ir_version, 4)  # before it, weights had to be inputs as well
    if max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1) >= _LEAST_OPSET:
        return model
    try:
        return onnx.version_converter.convert_version(model, _OPSET)
    except Exception as error:  # its own kinds, from C++
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"{path}: is of an opset before {_LEAST_OPSET}, which has no scales of channels, and cannot be "
            f"brought to {_OPSET}: {brief(said, 200)}"
        ) from None


def may_saturate(features: Collection[str], way: Way) -> bool:
    """Whether ONNX Runtime's sums of two products of uint8 and int8 may not fit the 16 bits they are made in.

    x86 CPUs without VNNI add pairs of products with saturation (`vpmaddubsw`); weights of 7 bits fit.

    Args:
        features: of the CPU target.
        way: how the model was quantized.
    """
    return "avx2" in features and not any(name in features for name in VNNI) and not way.reduce_range


class _Reader:
    """Calibration data as the quantizer asks for it."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._left = list(feeds)

    def get_next(self) -> Feed | None:
        """The next sample; `None` at the end."""
        return self._left.pop(0) if self._left else None


def _quantize(model: Any, path: Path, made: Path, feeds: Sequence[Feed], way: Way) -> None:
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(_Reader, quantization.CalibrationDataReader):  # type: ignore[misc]
        """It asks for its own class."""

    given, ready = made.with_name("float.onnx"), made.with_name("prepared.onnx")
    kinds = quantization.QuantType
    ranges = {"per_channel": way.per_channel, "reduce_range": way.reduce_range}
    try:
        with _silent():
            # Batch normalisation goes into the convolutions before them, so that each is quantized once.
            given.write_bytes(model.SerializeToString())
            quant_pre_process(str(given), str(ready), skip_symbolic_shape=True)
            if way.dynamic:
                quantization.quantize_dynamic(
                    str(ready), str(made), weight_type=kinds.QInt8, op_types_to_quantize=_DYNAMIC, **ranges
                )
            else:
                quantization.quantize_static(
                    str(ready), str(made), Reader(feeds), quant_format=quantization.QuantFormat.QDQ,
                    activation_type=kinds.QUInt8, weight_type=kinds.QInt8, **ranges,
                )  # fmt: skip
    except Exception as error:  # its own kinds, from Python and C++
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{path}: ONNX Runtime cannot quantize it: {brief(said, 300)}") from None


@contextlib.contextmanager
def _silent() -> Any:
    """Keeps the quantizer's remarks on its own progress away from the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    ort = onnxruntime_library()
    ort.set_default_logger_severity(4)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
        ort.set_default_logger_severity(_WARNINGS)


def compare_outputs(model: Any, quantized: Any, feeds: Sequence[Feed], threads: int) -> list[Apart]:
    """Runs both models on all samples.

    Args:
        model, quantized: `ModelProto`s of the same inputs and outputs.
        feeds: of the samples.
        threads: of ONNX Runtime.

    Raises:
        ModelError: ONNX Runtime refuses one of them, or outputs have other shapes.
    """
    before, after = session(model, threads), session(quantized, threads)
    names = [output.name for output in model.graph.output]
    sums = [_Sums() for _ in names]
    for feed in feeds:
        for each, wanted, got in zip(sums, run(before, feed), run(after, feed), strict=True):
            each.add(wanted, got)
    return [each.result(name) for name, each in zip(names, sums, strict=True)]


class _Sums:
    """Differences of one output, over samples."""

    def __init__(self) -> None:
        self.apart = self.largest = self.noise = self.signal = 0.0
        self.rows = self.same = 0
        self.finite = True

    def add(self, wanted: np.ndarray, got: np.ndarray) -> None:
        if wanted.shape != got.shape:
            raise ModelError(
                f"the quantized model gives {list(got.shape)}, the float one {list(wanted.shape)}"
            )
        if not wanted.size:
            return
        a, b = wanted.astype(np.float64), got.astype(np.float64)
        real = np.isfinite(a)
        self.finite &= bool(np.all(np.isfinite(b[real])))
        both = real & np.isfinite(b)
        difference, known = np.where(both, b, 0) - np.where(both, a, 0), np.where(both, a, 0)
        self.apart = max(self.apart, float(np.abs(difference).max()))
        self.largest = max(self.largest, float(np.abs(known).max()))
        self.noise += float((difference**2).sum())
        self.signal += float((known**2).sum())
        sizes = list(wanted.shape)
        while sizes and sizes[-1] == 1:  # classes are often channels of an image of one pixel
            sizes.pop()
        if len(sizes) > 1 and wanted.dtype.kind == "f":
            self.same += int((a.reshape(sizes).argmax(-1) == b.reshape(sizes).argmax(-1)).sum())
            self.rows += wanted.size // sizes[-1]

    def result(self, name: str) -> Apart:
        rms = _share(math.sqrt(self.noise), math.sqrt(self.signal))
        noise_db = math.inf if rms == 0 else -20 * math.log10(rms) if math.isfinite(rms) else -math.inf
        top = self.same / self.rows if self.rows else None
        return Apart(name, _share(self.apart, self.largest), rms, noise_db, top, self.finite)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else (0.0 if part == 0 else math.inf)
