"""ONNX Runtime: sessions of models and of parts of them, and inputs to run them on."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tuner.core.brief import brief
from tuner.core.errors import MissingExtra
from tuner.model.graph import Graph
from tuner.model.guards import MOST_FILE_BYTES, ModelError

PROVIDERS = ["CPUExecutionProvider"]
_lock = threading.Lock()


def onnxruntime_library() -> Any:
    """The `onnxruntime` package.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise
        raise MissingExtra("tuner model tune and compare", "model") from None
    return onnxruntime


def session(model: Any, threads: int, **config: str) -> Any:
    """A session of a `ModelProto` on so many threads.

    Args:
        model: with its weights.
        threads: of operators; they run one after the other.
        **config: entries of the session's configuration, `__` for a dot in their names; and `optimization`
            (a name of `GraphOptimizationLevel`), `profile` (prefix of a file).

    Raises:
        ModelError: it is too large to be handed over, or ONNX Runtime refuses it.
        MissingExtra: ONNX Runtime is not installed.
    """
    ort = onnxruntime_library()
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    if prefix := config.pop("profile", ""):
        options.enable_profiling, options.profile_file_prefix = True, prefix
    level = config.pop("optimization", "ORT_ENABLE_ALL")
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    for name, value in config.items():
        options.add_session_config_entry(name.replace("__", "."), value)
    if model.ByteSize() > MOST_FILE_BYTES:
        raise ModelError(
            "a model with more than 2 GiB of weights cannot be handed to ONNX Runtime in one piece"
        )
    try:
        return ort.InferenceSession(model.SerializeToString(), options, providers=PROVIDERS)
    except Exception as error:  # its own kinds, from C++
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"ONNX Runtime refuses the model: {brief(said, 300)}") from None


def random_inputs(
    graph: Graph, seed: int, given: Path | None = None, batch: int | None = None
) -> dict[str, np.ndarray]:
    """Arrays for a model's inputs: floats uniform on [0, 1), integers and booleans 1.

    Ones are tokens, masks and segments that every language model has; where they are not right, a file
    says what is.

    Args:
        graph: of the model, all input shapes known.
        seed: of the floats.
        given: an `.npz` file with some of the inputs, by their names.
        batch: first dimension of the inputs where it was asked for: rows of a file with fewer or more are
            repeated in turn, or cut.

    Raises:
        ModelError: an input is of a type that NumPy has not, or the file has another shape or dtype, or names
            that are no inputs.
    """
    rng = np.random.default_rng(seed)
    found = _read_inputs(graph, given, batch) if given is not None else {}
    for name in graph.inputs:
        value = graph.value(name)
        if name in found:
            continue
        if value.shape is None or not value.dtype:
            raise ModelError(f"{graph.path}: input {brief(name, 80)} is of a type that has no random values")
        dtype = np.dtype(value.dtype)
        made = rng.random(value.shape) if dtype.kind not in "iub" else np.ones(value.shape)
        found[name] = np.ascontiguousarray(made.astype(dtype))
    return found


def _read_inputs(graph: Graph, path: Path, batch: int | None) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            found: dict[str, np.ndarray] = {name: np.ascontiguousarray(stored[name]) for name in stored}
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{path}: no .npz file of arrays: {brief(str(error), 200)}") from None
    for name, array in found.items():
        value = graph.value(name)
        if name not in graph.inputs:
            raise ModelError(f"{path}: the model has no input {brief(name, 80)}: {', '.join(graph.inputs)}")
        if batch is not None and array.ndim and len(array) and array.shape[1:] == (value.shape or ())[1:]:
            found[name] = array = np.ascontiguousarray(array[np.arange(batch) % len(array)])
        if array.shape != value.shape or str(array.dtype) != value.dtype:
            raise ModelError(
                f"{path}: {brief(name, 80)} is {array.dtype}{list(array.shape)}, the model takes "
                f"{value.dtype}{list(value.shape or ())}"
            )
    return found


def run(of: Any, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs of a session; one at a time in this process, as it is timed.

    Raises:
        ModelError: ONNX Runtime fails.
    """
    with _lock:
        return run_beside(of, inputs)


def run_beside(of: Any, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs of a session; others may run at the same time.

    Raises:
        ModelError: ONNX Runtime fails.
    """
    try:
        outputs: list[np.ndarray] = of.run(None, dict(inputs))
        return outputs
    except Exception as error:
        raise _failed(error) from None


def bound_run(of: Any, binding: Any) -> Callable[[], None]:
    """Runs of a session on the memory that is bound to it: the function to call.

    The function raises `ModelError` where ONNX Runtime fails: the shape of an output may be another one than
    was inferred, as of pools with `ceil_mode` along one axis.
    """

    def call() -> None:
        try:
            of.run_with_iobinding(binding)
        except Exception as error:
            raise _failed(error) from None

    return call


def _failed(error: Exception) -> ModelError:
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    return ModelError(f"ONNX Runtime fails to run the model: {brief(said, 300)}")
