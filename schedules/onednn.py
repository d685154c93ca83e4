"""oneDNN through its C interface (version 3), with `ctypes`: a matrix product or a convolution on arrays.

Sources: oneDNN developer guide, "Matmul", "Convolution" and "Reorder" primitives; the numbers of enumerations
are those of `dnnl_common_types.h` and `dnnl_types.h`, which version 3 keeps.

The wheel is `onednn-cpu-gomp` (version 3.2, 2023), the newest one with CPU threads of its own: the wheel
`onednn` (2024 and later) runs on the CPU through SYCL alone, and finds no device without an OpenCL driver.
torch links a newer version statically, and exports none of it: it is measured through `torch`.
"""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.schedules.native import NativeKernel, find_library, int64s, load_library

STEM, VERSIONS = "dnnl", ("3",)
_TYPES = {"float16": 1, "bfloat16": 2, "float32": 3, "int32": 4, "int8": 5}
# Of dnnl_engine_kind_t, dnnl_prop_kind_t, dnnl_alg_kind_t and dnnl_query_t.
_CPU, _IN_ORDER, _INFERENCE, _AUTO, _ADD = 1, 1, 96, 0x3, 0x1FFF0
# Algorithm, alpha and beta of each.
_ELTWISE = {
    "relu": (0x20, 0, 0),
    "relu6": (0x2E, 0, 6),
    "silu": (0x2C, 1, 0),
    "hardswish": (0x34, 1 / 6, 0.5),
    "gelu": (0x31, 0, 0),
    "tanh": (0x21, 0, 0),
}
_IMPLEMENTATION, _SRC_MD, _WEIGHTS_MD, _DST_MD = 8, 129, 131, 133
SRC, DST, WEIGHTS, BIAS = 1, 17, 33, 41
"""Of dnnl_exec_arg_t; a reorder reads SRC and writes DST."""
ADDED = 1 << 15 | 2
"""The second source of the first step behind a sum (DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1)."""
_ANY = 1
_STATUS = {1: "out of memory", 2: "invalid arguments", 3: "not implemented", 5: "failed at run time"}


class _Argument(ctypes.Structure):
    _fields_ = (("arg", ctypes.c_int), ("memory", ctypes.c_void_p))


class OneDnnKernel(NativeKernel):
    """What the kernels that call oneDNN have in common."""

    stem, versions = STEM, VERSIONS
    # Without arithmetic in f16 it has no primitive of that type; bf16 it converts.
    requires = ("avx512fp16:f16",)

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        """int8 epilogues go through f32, which does not hold every int32."""
        reason = super().unsupported(workload, target)
        options = dict(workload.options)
        if reason is None and workload.dtype == "int8" and {"bias", "relu"} & options.keys():
            reason = "its int8 epilogue is computed in f32, which is not exact"
        return reason


class OneDnn:
    """The library, a CPU engine and a stream; what is made of them lives as long as the process.

    Args:
        threads: of GNU OpenMP, which the library is built with.

    Raises:
        RuntimeError: a call fails.
        OSError: the library cannot be loaded.
    """

    def __init__(self, threads: int) -> None:
        path = find_library(STEM, VERSIONS)
        if path is None:
            raise RuntimeError("libdnnl.so.3 is not installed")
        self._library = load_library(path)
        load_library("libgomp.so.1").omp_set_num_threads(threads)
        self._library.dnnl_primitive_desc_query_md.restype = ctypes.c_void_p
        self._library.dnnl_memory_desc_get_size.restype = ctypes.c_size_t
        self._engine, self._stream = ctypes.c_void_p(), ctypes.c_void_p()
        self._do("dnnl_engine_create", ctypes.byref(self._engine), _CPU, ctypes.c_size_t(0))
        self._do("dnnl_stream_create", ctypes.byref(self._stream), self._engine, _IN_ORDER)
        self._kept: list[Any] = []

    def _do(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            raise RuntimeError(f"oneDNN: {name}: {_STATUS.get(status, f'status {status}')}")

    def layout(
        self, shape: Sequence[int], dtype: str, strides: Sequence[int] | None = None, free: bool = False
    ) -> ctypes.c_void_p:
        """A memory descriptor.

        Args:
            shape: of the logical axes.
            dtype: NumPy's name.
            strides: in elements, a logical axis each; row-major by default.
            free: the primitive chooses.
        """
        found = ctypes.c_void_p()
        common = (ctypes.byref(found), len(shape), int64s(shape), _TYPES[dtype])
        if free:
            self._do("dnnl_memory_desc_create_with_tag", *common, _ANY)
        else:
            told = list(strides or _row_major(shape))
            self._do("dnnl_memory_desc_create_with_strides", *common, int64s(told))
        return found

    def of_array(self, array: np.ndarray, shape: Sequence[int] | None = None) -> ctypes.c_void_p:
        """The descriptor of an array as it lies (views included); `shape` re-reads a contiguous one."""
        if shape is not None:
            return self.layout(shape, array.dtype.name)
        strides = [stride // array.itemsize for stride in array.strides]
        return self.layout(array.shape, array.dtype.name, strides)

    def memory(self, layout: ctypes.c_void_p, array: np.ndarray) -> ctypes.c_void_p:
        """Memory of a layout at an array's own address."""
        found = ctypes.c_void_p()
        at = ctypes.c_void_p(array.ctypes.data)
        self._do("dnnl_memory_create", ctypes.byref(found), layout, self._engine, at)
        self._kept.append(array)
        return found

    def matmul(self, src: Any, weights: Any, bias: Any, dst: Any, attributes: Any) -> ctypes.c_void_p:
        """A descriptor of the primitive for four layouts (`bias` may be `None`)."""
        found = ctypes.c_void_p()
        told = (self._engine, src, weights, bias, dst, attributes)
        self._do("dnnl_matmul_primitive_desc_create", ctypes.byref(found), *told)
        return found

    def convolution(
        self, layouts: Sequence[Any], stride: int, dilation: int,
        padding: tuple[tuple[int, int], tuple[int, int]], attributes: Any,
    ) -> ctypes.c_void_p:  # fmt: skip
        """A descriptor of the primitive; `layouts` are those of src, weights, bias and dst."""
        found = ctypes.c_void_p()
        (top, bottom), (left, right) = padding
        told = [int64s([stride] * 2), int64s([dilation - 1] * 2), int64s([top, left])]
        self._do(
            "dnnl_convolution_forward_primitive_desc_create", ctypes.byref(found), self._engine, _INFERENCE,
            _AUTO, *layouts, *told, int64s([bottom, right]), attributes,
        )  # fmt: skip
        return found

    def attributes(self, activation: str, added: Any = None) -> ctypes.c_void_p:
        """What is done to the sum.

        Args:
            activation: of `tuner.core.activations`, or empty; the last step.
            added: layout of a tensor of the result's shape that is added first, memory `ADDED`; `None`: none.
        """
        found, steps = ctypes.c_void_p(), ctypes.c_void_p()
        self._do("dnnl_primitive_attr_create", ctypes.byref(found))
        if activation or added is not None:
            self._do("dnnl_post_ops_create", ctypes.byref(steps))
        if added is not None:
            self._do("dnnl_post_ops_append_binary", steps, _ADD, added)
        if activation:
            kind, alpha, beta = _ELTWISE[activation]
            factors = (ctypes.c_float(alpha), ctypes.c_float(beta))
            self._do("dnnl_post_ops_append_eltwise", steps, kind, *factors)
        if steps:
            self._do("dnnl_primitive_attr_set_post_ops", found, steps)
        return found

    def is_reference(self, primitive: ctypes.c_void_p) -> bool:
        """Whether the library has only its plain loops for it, which are a hundred times slower."""
        name = ctypes.c_char_p()
        told = (primitive, _IMPLEMENTATION, 0, ctypes.byref(name))
        self._do("dnnl_primitive_desc_query", *told)
        return bool(name.value) and str(name.value, "ascii", "replace").startswith("ref")

    def weights_for(
        self, primitive: ctypes.c_void_p, layout: ctypes.c_void_p, array: np.ndarray
    ) -> tuple[ctypes.c_void_p, Callable[[], object]]:
        """Memory for the weights as the primitive wants them, and the call that fills it from the array."""
        wanted, laid = self._wanted(primitive, _WEIGHTS_MD)
        return laid, self._reorder(layout, self.memory(layout, array), wanted, laid)

    def source_for(
        self, primitive: ctypes.c_void_p, layout: ctypes.c_void_p, array: np.ndarray
    ) -> tuple[ctypes.c_void_p, Callable[[], object]]:
        """`weights_for` of a source."""
        wanted, laid = self._wanted(primitive, _SRC_MD)
        return laid, self._reorder(layout, self.memory(layout, array), wanted, laid)

    def result_for(
        self, primitive: ctypes.c_void_p, layout: ctypes.c_void_p, array: np.ndarray
    ) -> tuple[ctypes.c_void_p, Callable[[], object]]:
        """Memory for the result as the primitive wants it, and the call that brings it into the array."""
        wanted, laid = self._wanted(primitive, _DST_MD)
        return laid, self._reorder(wanted, laid, layout, self.memory(layout, array))

    def _wanted(self, primitive: ctypes.c_void_p, which: int) -> tuple[ctypes.c_void_p, ctypes.c_void_p]:
        """The layout that a primitive chose for a tensor, and memory of it."""
        wanted = ctypes.c_void_p(self._library.dnnl_primitive_desc_query_md(primitive, which, 0))
        return wanted, self.memory(wanted, _aligned(self._library.dnnl_memory_desc_get_size(wanted)))

    def _reorder(self, layout: Any, memory: Any, wanted: Any, laid: Any) -> Callable[[], object]:
        described = ctypes.c_void_p()
        told = (layout, self._engine, wanted, self._engine, None)
        self._do("dnnl_reorder_primitive_desc_create", ctypes.byref(described), *told)
        return self.call(described, {SRC: memory, DST: laid})

    def call(self, primitive: ctypes.c_void_p, memories: Mapping[int, Any]) -> Callable[[], object]:
        """A call that executes the primitive and waits for it."""
        made = ctypes.c_void_p()
        self._do("dnnl_primitive_create", ctypes.byref(made), primitive)
        told = (_Argument * len(memories))(*((kind, m.value) for kind, m in memories.items()))
        count = ctypes.c_int(len(memories))
        execute, wait = self._library.dnnl_primitive_execute, self._library.dnnl_stream_wait
        stream, kept = self._stream, self._kept

        def call(kept: Sequence[Any] = kept) -> None:
            """`kept` keeps the arrays alive that the library knows by their addresses."""
            if execute(made, stream, count, told) or wait(stream):
                raise RuntimeError("oneDNN failed at run time")

        return call


def _row_major(shape: Sequence[int]) -> list[int]:
    strides = [1]
    for size in reversed(shape[1:]):
        strides.insert(0, strides[0] * size)
    return strides


def _aligned(size: int) -> np.ndarray:
    """Bytes that begin on a boundary of 64."""
    whole = np.zeros(size + 64, np.uint8)
    first = -whole.ctypes.data % 64
    return whole[first : first + size]
