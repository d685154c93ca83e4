"""The part of cuBLASLt that a matrix product needs, through ctypes: CuPy does not have it.

Names, numbers and structs are those of `cublasLt.h` of CUDA 13.0 (the same in 12). Matrices are column-major.
"""

import ctypes
from collections.abc import Callable, Sequence
from ctypes import c_float, c_int, c_int8, c_int32, c_int64, c_size_t, c_uint64, c_void_p
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from typing import Any

DISTRIBUTIONS = ("nvidia-cublas", "nvidia-cublas-cu12")
"""Those that bring the library; a CUDA toolkit does as well."""
_NAMES = ("libcublasLt.so.13", "libcublasLt.so.12")
# cublasLtMatmulDescAttributes_t, cublasLtMatrixLayoutAttribute_t, cublasLtMatmulPreferenceAttributes_t.
_TRANS_A, _TRANS_B, _EPILOGUE, _BIAS_POINTER, _FAST_ACCUM = 3, 4, 7, 8, 25
_BATCH_COUNT, _BATCH_STRIDE = 5, 6
_MOST_WORKSPACE = 1
# cublasLtEpilogue_t
_PLAIN, _RELU, _BIAS = 1, 2, 4


class _Algorithm(ctypes.Structure):
    _fields_ = (("data", c_uint64 * 8),)


class _Heuristic(ctypes.Structure):
    _fields_ = (
        ("algorithm", _Algorithm), ("workspace_bytes", c_size_t), ("state", c_int), ("waves", c_float),
        ("reserved", c_int * 4),
    )  # fmt: skip


def library_path() -> str | None:
    """Where the library lies: in a wheel, else as the system's loader finds it; `None` for nowhere."""
    for distribution in DISTRIBUTIONS:
        try:
            listed = files(distribution) or []
        except PackageNotFoundError:
            continue
        for file in listed:
            if file.name in _NAMES:
                return str(file.locate())
    from ctypes.util import find_library

    return find_library("cublasLt")


@cache
def _loaded(path: str) -> Any:
    library = ctypes.CDLL(path)
    pointers = ctypes.POINTER(c_void_p)
    attribute = [c_void_p, c_int, c_void_p, c_size_t]
    for name, arguments in {
        "cublasLtCreate": [pointers],
        "cublasLtMatmulDescCreate": [pointers, c_int, c_int],
        "cublasLtMatmulDescSetAttribute": attribute,
        "cublasLtMatrixLayoutCreate": [pointers, c_int, c_uint64, c_uint64, c_int64],
        "cublasLtMatrixLayoutSetAttribute": attribute,
        "cublasLtMatmulPreferenceCreate": [pointers],
        "cublasLtMatmulPreferenceSetAttribute": attribute,
        "cublasLtMatmulAlgoGetHeuristic": [c_void_p] * 7 + [c_int, c_void_p, ctypes.POINTER(c_int)],
        "cublasLtMatmul": [c_void_p] * 14 + [c_size_t, c_void_p],
    }.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, c_int
    return library


def _checked(what: str, status: int) -> None:
    if status:  # cublasStatus_t
        raise RuntimeError(f"cuBLASLt: {what} ended with status {status}")


class Product:
    """D = relu(alpha * op(A) op(B) + beta * C + bias), all column-major, in a batch.

    Args:
        path: of the library.
        compute: `cublasComputeType_t`.
        scale: `cudaDataType` of alpha and beta.
        transposed: whether A, whether B is.

    Raises:
        RuntimeError: the library refuses it.
    """

    def __init__(self, path: str, compute: int, scale: int, transposed: tuple[bool, bool]) -> None:
        self._library = _loaded(path)
        self._handle, self._what = c_void_p(), c_void_p()
        self._call("cublasLtCreate", ctypes.byref(self._handle))
        self._call("cublasLtMatmulDescCreate", ctypes.byref(self._what), compute, scale)
        for attribute, turned in zip((_TRANS_A, _TRANS_B), transposed, strict=True):
            self._describe(attribute, c_int32(int(turned)))
        self._layouts: list[c_void_p] = []

    def _call(self, name: str, *arguments: Any) -> None:
        _checked(name, getattr(self._library, name)(*arguments))

    def _describe(self, attribute: int, value: Any) -> None:
        name = "cublasLtMatmulDescSetAttribute"
        self._call(name, self._what, attribute, ctypes.byref(value), ctypes.sizeof(value))

    def add_matrix(self, dtype: int, rows: int, columns: int, lead: int, batch: int, step: int) -> None:
        """A, B, C and D in this order.

        Args:
            dtype: `cudaDataType`.
            rows, columns: as it lies in memory, before it is transposed.
            lead: elements from column to column.
            batch, step: how many there are, elements from one to the next.
        """
        made = c_void_p()
        self._call("cublasLtMatrixLayoutCreate", ctypes.byref(made), dtype, rows, columns, lead)
        if batch > 1:
            for attribute, value in ((_BATCH_COUNT, c_int32(batch)), (_BATCH_STRIDE, c_int64(step))):
                self._call(
                    "cublasLtMatrixLayoutSetAttribute", made, attribute, ctypes.byref(value),
                    ctypes.sizeof(value),
                )  # fmt: skip
        self._layouts.append(made)

    def finish_with(self, relu: bool, bias: int | None) -> None:
        """The epilogue: `bias` is the address of one element a row of D, of D's type."""
        kind = (_RELU if relu else 0) | (_BIAS if bias is not None else 0)
        self._describe(_EPILOGUE, c_int32(kind or _PLAIN))
        if bias is not None:
            self._describe(_BIAS_POINTER, c_void_p(bias))

    def accumulate_fast(self) -> None:
        """8-bit floats alone: sums stay in the tensor cores, which keep fewer bits of them than f32 has, and
        are not added up in f32 from time to time (`CUBLASLT_MATMUL_DESC_FAST_ACCUM`)."""
        self._describe(_FAST_ACCUM, c_int8(1))

    def algorithms(self, most: int, workspace_bytes: int) -> list[_Heuristic]:
        """The library's own choice of algorithms, the one it would take first.

        Args:
            most: how many at most.
            workspace_bytes: what each of them may use.
        """
        preference, size = c_void_p(), c_size_t(workspace_bytes)
        self._call("cublasLtMatmulPreferenceCreate", ctypes.byref(preference))
        self._call(
            "cublasLtMatmulPreferenceSetAttribute", preference, _MOST_WORKSPACE, ctypes.byref(size),
            ctypes.sizeof(size),
        )  # fmt: skip
        found, count = (_Heuristic * most)(), c_int()
        self._call(
            "cublasLtMatmulAlgoGetHeuristic", self._handle, self._what, *self._layouts, preference, most,
            ctypes.cast(found, c_void_p), ctypes.byref(count),
        )  # fmt: skip
        return [each for each in found[: count.value] if each.state == 0]

    def prepared(
        self, algorithm: _Heuristic, scales: Sequence[Any], addresses: Sequence[int], workspace: int,
        workspace_bytes: int, stream: int,
    ) -> Callable[[], None]:  # fmt: skip
        """The call.

        Args:
            algorithm: one of `algorithms`.
            scales: ctypes values of alpha and beta.
            addresses: of A, B, C and D.
            workspace, workspace_bytes: memory of the device.
            stream: its handle.
        """
        alpha, beta = (ctypes.byref(value) for value in scales)
        a, b, c, d = addresses
        la, lb, lc, ld = self._layouts
        call = self._library.cublasLtMatmul
        given = (
            self._handle, self._what, alpha, a, la, b, lb, beta, c, lc, d, ld,
            ctypes.byref(algorithm.algorithm), workspace, workspace_bytes, stream,
        )  # fmt: skip

        def multiply(_alive: object = (self, algorithm, tuple(scales))) -> None:
            _checked("cublasLtMatmul", call(*given))

        return multiply
