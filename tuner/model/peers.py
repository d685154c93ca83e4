"""Others who run a whole model, each where it is installed: OpenVINO, torch, TensorRT."""

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tuner.core.brief import brief
from tuner.core.errors import TunerError
from tuner.model.contestants import Contestant
from tuner.model.graph import Graph
from tuner.model.guards import ModelError
from tuner.model.runtime import onnxruntime_library, run

_TORCH = "pip install 'kernel-tuner-lab[model-torch]'"
_TENSORRT = "TensorrtExecutionProvider"


def peers(
    model: Any, graph: Graph, inputs: Mapping[str, np.ndarray], threads: int
) -> tuple[list[Contestant], dict[str, str]]:
    """Those that can run a model here, and why the others cannot.

    Args:
        model: the `ModelProto` with its weights.
        graph: what was read of it.
        inputs: the arrays that all contestants read.
        threads: of those on the CPU.
    """
    found: list[Contestant] = []
    missing: dict[str, str] = {}
    ways: Mapping[str, tuple[Callable[[], Sequence[Contestant]], str]] = {
        "openvino": (lambda: [openvino(model, inputs, threads)], "pip install openvino"),
        "torch": (lambda: torch_ways(model, graph, inputs, threads), _TORCH),
        "tensorrt": (lambda: [tensorrt(model, inputs)], ""),
    }
    for name, (make, install) in ways.items():
        try:
            found += make()
        except ModuleNotFoundError as error:
            missing[name] = f"{brief(error.name or name, 80)} is not installed: {install}"
        except TunerError as error:
            missing[name] = str(error)
    return found, missing


def _said(error: Exception, line: int = 0) -> str:
    return brief((str(error).strip() or type(error).__name__).splitlines()[line], 200)


def openvino(model: Any, inputs: Mapping[str, np.ndarray], threads: int) -> Contestant:
    """OpenVINO on the CPU, in f32, hinted at latency.

    Raises:
        ModelError: it cannot compile the model.
        ModuleNotFoundError: it is not installed.
    """
    import openvino as ov

    hints = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    try:
        core = ov.Core()
        compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", hints)
        request = compiled.create_infer_request()
        given = [inputs[_name(port, inputs)] for port in compiled.inputs]
    except Exception as error:  # its own kinds, from C++
        raise ModelError(f"OpenVINO cannot compile the model: {_said(error, -1)}") from None

    def call() -> Sequence[np.ndarray]:
        request.infer(given, share_inputs=True, share_outputs=True)
        return [request.get_output_tensor(i).data for i in range(len(compiled.outputs))]

    return Contestant("openvino", call)


def _name(port: Any, inputs: Mapping[str, np.ndarray]) -> str:
    names: set[str] = port.get_names()
    return next(name for name in names if name in inputs)


def torch_ways(model: Any, graph: Graph, inputs: Mapping[str, np.ndarray], threads: int) -> list[Contestant]:
    """torch on the CPU: the graph converted by `onnx2torch`, as it is and traced, frozen and fused.

    `torch.compile` takes no part: it needs a C++ compiler and minutes, and does not take what the conversion
    makes of a reshape by a constant.

    Args:
        model, graph, inputs: as everywhere.
        threads: of torch in the whole process.

    Raises:
        ModelError: `onnx2torch` does not load or cannot convert the model, or torch cannot run it.
        ModuleNotFoundError: torch or `onnx2torch` is not installed.
    """
    module = _converted(model)
    import torch

    torch.set_num_threads(threads)
    # Its tensors lie in the arrays' memory: what is put there is what the next call sees.
    given = [torch.from_numpy(inputs[name]) for name in graph.inputs]

    def way(name: str, function: Any) -> Contestant:
        def call() -> Sequence[np.ndarray]:
            with torch.inference_mode():
                made = function(*given)
            outputs = [made] if torch.is_tensor(made) else made
            return [output.numpy() for output in outputs]

        return Contestant(name, call, "converted by onnx2torch")

    trace: Any = torch.jit.trace  # has no types in some releases
    eager = way("torch", module)
    with _ran("torch"):
        eager.call()
    try:
        with torch.inference_mode(), _quiet():
            traced = trace(_tuple_of(module), tuple(given), check_trace=False)
            traced = torch.jit.optimize_for_inference(torch.jit.freeze(traced.eval()))
        fused = way("torch traced", traced)
        fused.call()
    except Exception:  # the tracer takes fewer models than torch runs
        return [eager]
    return [eager, fused]


def _converted(model: Any) -> Any:
    """The module that `onnx2torch` makes of a model."""
    try:
        with _quiet():
            import onnx2torch
    except ModuleNotFoundError:
        raise
    except Exception as error:  # torchvision of another build than torch: an error of its own kind
        raise ModelError(
            f"onnx2torch does not load ({_said(error)}): torch and torchvision have to be of one build"
        ) from None
    try:
        with _quiet():
            return onnx2torch.convert(model).eval()
    except Exception as error:  # NotImplementedError and whatever a graph's attributes lead to
        raise ModelError(f"onnx2torch cannot convert the model: {_said(error)}") from None


def _tuple_of(module: Any) -> Any:
    """The module with its outputs as a tuple, as the tracer wants several to be."""
    import torch

    class Outputs(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, *given: Any) -> Any:
            made = self.inner(*given)
            return (made,) if torch.is_tensor(made) else tuple(made)

    return Outputs().eval()


def tensorrt(model: Any, inputs: Mapping[str, np.ndarray]) -> Contestant:
    """TensorRT through ONNX Runtime's provider, inputs and outputs in the host's memory.

    Raises:
        ModelError: this ONNX Runtime has no such provider, or TensorRT, a GPU or a driver is missing.
    """
    ort = onnxruntime_library()
    if _TENSORRT not in ort.get_available_providers():
        raise ModelError(
            "this onnxruntime has no TensorRT provider: on a machine with a GPU, "
            "pip install onnxruntime-gpu tensorrt"
        )
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        made = ort.InferenceSession(model.SerializeToString(), options, providers=[_TENSORRT])
    except Exception as error:  # its own kinds, from C++
        raise ModelError(f"TensorRT cannot take the model: {_said(error)}") from None
    # A provider that cannot load is left out without an error.
    if _TENSORRT not in made.get_providers():
        raise ModelError("TensorRT does not load: it needs a GPU, a driver and TensorRT's libraries")
    return Contestant("tensorrt", lambda: run(made, inputs), "on the GPU, copies to it and back included")


@contextlib.contextmanager
def _ran(who: str) -> Iterator[None]:
    """A first run, whose error is the model's."""
    try:
        yield
    except Exception as error:
        raise ModelError(f"{who} cannot run the model: {_said(error)}") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What libraries warn of is not the user's concern."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
