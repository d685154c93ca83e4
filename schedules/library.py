"""What all library baselines share: no parameters, and a Python factory in place of source code."""

import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np

from tuner.core.kernel import Argument, Kernel, Source
from tuner.core.space import Config, SearchSpace
from tuner.core.target import Target
from tuner.core.workload import Workload


class LibraryKernel(Kernel):
    """A library that people use for an operator, measured as they would call it.

    A subclass names the importable `libraries` it needs, the `extra` that installs them, and `factory`,
    "module:function". The factory is called as `factory(workload, tensors, threads)` with the arrays of
    the operator's signature by name, and returns a function of no arguments that fills the outputs
    in place, with as few copies as the library allows. Where the library can be tuned itself, `space` has
    parameters, and the factory is given `config=` as well; all of its configurations are timed.
    """

    language = "python"
    baseline = True
    libraries: ClassVar[tuple[str, ...]]
    extra: ClassVar[str] = ""
    factory: ClassVar[str]
    may_choose_winograd: ClassVar[bool] = False
    """Whether it may compute 3x3 convolutions with fewer products than the definition counts, unasked."""
    tensors: ClassVar[tuple[str, ...]]

    def unavailable(self) -> str | None:
        """Names the extra to install; looks for the libraries without importing them."""
        missing = [name for name in self.libraries if find_spec(name) is None]
        if not missing:
            return None
        return f"{missing[0]} is not installed: pip install 'kernel-tuner-lab[{self.extra}]'"

    def fewer_operations(self, workload: Workload) -> float:
        """4, as F(4x4, 3x3), where the library may have chosen Winograd's algorithm; it does not tell."""
        dims = dict(workload.dims)
        options = {**self.options, **dict(workload.options)}
        plain = all(options.get(name, 1) == 1 for name in ("stride", "dilation", "groups"))
        square = (dims.get("r"), dims.get("s")) == (3, 3)
        return 4.0 if self.may_choose_winograd and square and plain else 1.0

    def space(self, workload: Workload, target: Target) -> SearchSpace:
        """Empty: one configuration, `{}`."""
        return SearchSpace((), (), self.constants(workload, target))

    def lower(self, workload: Workload, config: Config, target: Target) -> Source:
        """The factory's name, with the workload's key among the options, and the configuration if any."""
        options: dict[str, Any] = {"workload": workload.key, "libraries": list(self.libraries)}
        if config:
            options["config"] = dict(config)
        arguments = tuple(Argument(name) for name in self.tensors)
        function = self.factory.partition(":")[2]
        return Source(
            self.language, self.factory, function, arguments, target_threads(target), options=options
        )


def target_threads(target: Target) -> int:
    """CPU threads to lower for: the limit `threads` (the protocol's) where there is one, else all `cores`."""
    return int(target.limits.get("threads", target.limits.get("cores", 1)))


def torch_tensor(array: np.ndarray) -> Any:
    """The same memory as a torch tensor; NumPy's bfloat16 is known to torch by its bits only."""
    import torch

    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def start_torch(threads: int) -> None:
    """Sets PyTorch up for inference on so many threads.

    Raises:
        RuntimeError: it takes another number.
    """
    import torch

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    if torch.get_num_threads() != threads:
        raise RuntimeError(f"torch has {torch.get_num_threads()} threads and not {threads}")


class OnnxGraph:
    """A graph of ONNX operators and what ONNX Runtime needs to run it on arrays as they lie."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}
        """Initializers by name; a tensor of the kernel that is here is none of its inputs."""

    def node(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Adds an operator; returns the name of its output."""
        from onnx import helper

        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], domain=domain, **attributes))
        return name

    def constant(self, value: Any, dtype: str) -> str:
        """Adds an initializer; returns its name."""
        name = f"c{len(self.constants)}"
        self.constants[name] = np.array(value, dtype)
        return name

    def bind(self, tensors: Mapping[str, np.ndarray], output: str, threads: int) -> Callable[[], object]:
        """A session bound to the arrays' own memory: its calls copy nothing in or out.

        Args:
            tensors: inputs and output by name.
            output: which of them the last operator writes.
            threads: of the session.
        """
        import onnxruntime as ort
        from onnx import helper, numpy_helper

        self.nodes[-1].output[0] = output
        bound = {name: array for name, array in tensors.items() if name not in self.constants}
        values = {
            name: helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
            for name, x in bound.items()
        }
        written = values.pop(output)
        initial = [numpy_helper.from_array(array, name) for name, array in self.constants.items()]
        graph = helper.make_graph(self.nodes, "kernel", list(values.values()), [written], initial)
        # Opset 17 and IR 8 are old enough for every supported ONNX Runtime.
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Where it chooses their number itself ONNX Runtime pins its workers one to a core; told it, it does
        # not. The median of 36 processes of a 1x1 convolution, two runs: 72 and 82 us pinned, 91 and 102 not.
        cpus = sorted(os.sched_getaffinity(0))[1:threads]
        if cpus and len(cpus) == threads - 1:
            places = ";".join(str(cpu + 1) for cpu in cpus)
            options.add_session_config_entry("session.intra_op_thread_affinities", places)
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3  # errors only
        session = ort.InferenceSession(
            model.SerializeToString(), sess_options=options, providers=["CPUExecutionProvider"]
        )
        binding = session.io_binding()
        for name, array in bound.items():
            bind = binding.bind_output if name == output else binding.bind_input
            bind(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        return lambda: session.run_with_iobinding(binding)


def as_bytes(
    bind: Callable[[Mapping[str, np.ndarray]], Callable[[], object]],
    tensors: Mapping[str, np.ndarray], operand: str, result: str,
) -> Callable[[], object]:  # fmt: skip
    """A call for int8 tensors that computes on uint8 ones, each value 128 more.

    MLAS has instructions for products of unsigned and signed bytes; of two signed ones it takes much slower
    loops on an x86 processor without AVX-VNNI-INT8. The operand is shifted into memory of
    its own in each call, the result where it is: one pass over each at the speed of a copy.

    Args:
        bind: the call on tensors of which these two are uint8.
        tensors: inputs and output by name.
    """
    given, written = tensors[operand].view(np.uint8), tensors[result].view(np.uint8)
    shifted = np.empty_like(given)
    call = bind({**tensors, operand: shifted, result: written})

    def run() -> None:
        np.bitwise_xor(given, 128, out=shifted)
        call()
        np.bitwise_xor(written, 128, out=written)

    return run


def compiled_jax(
    function: Callable[..., Any], tensors: Mapping[str, np.ndarray], output: str, threads: int
) -> Callable[[], object]:
    """A call of a function of JAX arrays, compiled by XLA for the CPU, that fills the output.

    Arrays that lie on a boundary of 64 bytes, as the engine's do, are XLA's inputs where they lie; others
    are copied with every call. XLA allocates its result: it is copied to the output.

    Args:
        function: of the input arrays, in the order of `tensors`.
        tensors: the inputs and the output by name.
        output: which of them is written.
        threads: of XLA's thread pool: it is made once a process, for the CPUs that the process may use.
    """
    # Read when XLA's CPU client is made, with the first array; the process is pinned to as many CPUs.
    os.environ["NPROC"] = str(threads)
    import jax

    jax.config.update("jax_platforms", "cpu")
    inputs = [array for name, array in tensors.items() if name != output]
    out = tensors[output]

    def given(array: np.ndarray) -> Any:
        return jax.device_put(array, may_alias=True)

    arrays = [given(array) for array in inputs]
    compiled = jax.jit(function).lower(*arrays).compile()
    shared = [x.unsafe_buffer_pointer() == array.ctypes.data for x, array in zip(arrays, inputs, strict=True)]

    def call() -> None:
        now = (x if same else given(array) for x, array, same in zip(arrays, inputs, shared, strict=True))
        np.copyto(out, np.asarray(compiled(*now)))

    return call
