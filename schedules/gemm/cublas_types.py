"""The numbers by which cuBLAS and cuBLASLt name the element types of a matrix product."""

import ctypes
from collections.abc import Mapping
from typing import Any, NamedTuple

# cudaDataType and cublasComputeType_t (library_types.h, cublas_api.h).
_F32, _F16, _BF16, _S8, _S32, _E4M3 = 0, 2, 14, 3, 10, 28
# The third multiplies what is left of f32 in TF32.
_SUM_F32, _SUM_S32, _SUM_TF32 = 68, 72, 77


class ProductTypes(NamedTuple):
    """Of operands, of the result, of the sums, of alpha and beta, and what C has for those two."""

    operand: int
    result: int
    sums: int
    scale: int
    number: type[Any]


TYPES: Mapping[str, ProductTypes] = {
    "f32": ProductTypes(_F32, _F32, _SUM_F32, _F32, ctypes.c_float),
    "f16": ProductTypes(_F16, _F16, _SUM_F32, _F32, ctypes.c_float),
    "bf16": ProductTypes(_BF16, _BF16, _SUM_F32, _F32, ctypes.c_float),
    "int8": ProductTypes(_S8, _S32, _SUM_S32, _S32, ctypes.c_int32),
    "tf32": ProductTypes(_F32, _F32, _SUM_TF32, _F32, ctypes.c_float),
    # cuBLASLt alone has it.
    "e4m3": ProductTypes(_E4M3, _BF16, _SUM_F32, _F32, ctypes.c_float),
}
"""By the workload's dtype."""
