"""Requests and answers of the KServe v2 protocol, with the extension for binary tensor data.

Sources: the Open Inference Protocol's REST specification (kserve/open-inference-protocol), and Triton's
extensions "binary tensor data", "schedule policy" (the parameter `timeout`) and "parameters".
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from tuner.core.brief import brief

DATATYPES: Mapping[str, str] = {
    "bool": "BOOL", "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64",
    "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64",
    "float16": "FP16", "bfloat16": "BF16", "float32": "FP32", "float64": "FP64",
}  # fmt: skip
"""The protocol's name of a NumPy dtype."""
HEADER = "inference-header-content-length"
# Of JSON: what a number may take as text, and everything but the numbers.
_NUMBER_BYTES, _ENVELOPE_BYTES = 32, 2**16
_MOST_ID = 1000
_DAY_US = 86_400_000_000


class Refused(Exception):
    """A request that is not answered with a result.

    Attributes:
        status: of HTTP.
        retry_after_s: when it may be worth while to ask again; `None`: never.
    """

    def __init__(self, status: int, text: str, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.status, self.retry_after_s = status, retry_after_s


@dataclass(frozen=True)
class Tensor:
    """An input or output of a model.

    Attributes:
        name: as in the graph.
        dtype: NumPy's name.
        shape: without the batch where the model has one; `None` where it is known only when the model runs.
    """

    name: str
    dtype: str
    shape: tuple[int, ...] | None

    @property
    def datatype(self) -> str:
        """The protocol's name of the dtype."""
        return DATATYPES[self.dtype]

    @property
    def elements(self) -> int:
        """Of one row, or of all where the model has no batch."""
        return math.prod(self.shape or ())


@dataclass(frozen=True)
class Signature:
    """What a model takes and gives.

    Attributes:
        inputs, outputs: in the model's order.
        most_rows: of a request, the first dimension of all tensors; 0 where shapes are as the file says.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    most_rows: int

    @property
    def most_json(self) -> int:
        """Bytes of JSON that the largest request may take."""
        return _ENVELOPE_BYTES + _NUMBER_BYTES * max(self.most_rows, 1) * sum(t.elements for t in self.inputs)

    @property
    def most_body(self) -> int:
        """Bytes of the largest request: all inputs, as text or binary with JSON before them."""
        sizes = (t.elements * np.dtype(t.dtype).itemsize for t in self.inputs)
        return max(self.most_json, _ENVELOPE_BYTES + max(self.most_rows, 1) * sum(sizes))


@dataclass(frozen=True)
class Request:
    """An inference that is asked for.

    Attributes:
        id: to be given back; empty: none.
        arrays: the inputs by name, of the shapes that were sent.
        rows: of each input; 1 where the model has no batch.
        outputs: names that are wanted, each with whether it is to come as binary data.
        timeout_s: until when an answer is of use, seconds after it arrived; `None`: no matter when.
    """

    id: str
    arrays: Mapping[str, np.ndarray]
    rows: int
    outputs: Sequence[tuple[str, bool]]
    timeout_s: float | None


def parse(signature: Signature, body: bytes | memoryview, header_bytes: int | None) -> Request:
    """Reads a request.

    Time and memory are bounded by the body's length: nothing is allocated for a shape before it is known to
    be the model's.

    Args:
        signature: of the model.
        body: all of it; binary inputs are views of it.
        header_bytes: length of the JSON that binary data follows; `None`: all is JSON.

    Raises:
        Refused: with 400, saying what is wrong and what would be right.
    """
    if header_bytes is not None and header_bytes > len(body):
        raise Refused(400, f"{HEADER} is {header_bytes}, the body has {len(body)} bytes")
    text = bytes(body if header_bytes is None else body[:header_bytes])
    _check_size(signature, text)
    asked = _object(_decoded(text), "the request")
    given = asked.get("id", "")
    if not isinstance(given, str) or len(given) > _MOST_ID:
        raise Refused(400, f"id has to be a text of {_MOST_ID} characters at most")
    parameters = _object(asked.get("parameters", {}), "parameters")
    data = memoryview(body)[len(text) :]
    arrays, rows = _inputs(signature, asked.get("inputs"), data)
    binary = bool(parameters.get("binary_data_output", False))
    return Request(
        given, arrays, rows, _wanted(signature, asked.get("outputs"), binary), _timeout(parameters)
    )


def _check_size(signature: Signature, text: bytes) -> None:
    """Refuses JSON of more values than a request has: an empty list is two bytes, and 64 once decoded."""
    if len(text) > signature.most_json:
        raise Refused(400, f"{len(text)} bytes of JSON: this model takes {signature.most_json} at most")
    if len(text) <= _ENVELOPE_BYTES:
        return
    rows = max(signature.most_rows, 1)
    some = 4096 + 64 * (len(signature.inputs) + len(signature.outputs))
    lists = sum(
        rows * math.prod((tensor.shape or ())[:depth])
        for tensor in signature.inputs
        for depth in range(len(tensor.shape or ()))
    )
    numbers = rows * sum(tensor.elements for tensor in signature.inputs)
    for sign, most in ((b",", some + numbers), (b"[", some + lists), (b"{", some), (b'"', some)):
        if (count := text.count(sign)) > most:
            raise Refused(400, f"{count} times {sign.decode()!r} in the JSON: a request has {most} at most")


def _decoded(text: bytes) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise Refused(400, "the request is nested too deep") from None
    except json.JSONDecodeError as error:
        raise Refused(400, f"the request is no JSON: {str(error)[:200]}") from None
    except ValueError:
        raise Refused(400, "the request is no UTF-8, or has numbers of thousands of digits") from None


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Refused(400, f"{what} has to be a JSON object")
    return value


def _inputs(signature: Signature, given: Any, data: memoryview) -> tuple[dict[str, np.ndarray], int]:
    """The arrays by name, and how many rows they have."""
    if not isinstance(given, list):
        raise Refused(400, "inputs has to be a list of tensors")
    known = {tensor.name: tensor for tensor in signature.inputs}
    arrays: dict[str, np.ndarray] = {}
    rows, place = None, 0
    for entry in given:
        one = _object(entry, "each of inputs")
        name = one.get("name")
        tensor = known.get(name) if isinstance(name, str) else None
        if tensor is None or tensor.name in arrays:
            why = "is given twice" if tensor is not None else f"is none of the model's: {', '.join(known)}"
            raise Refused(400, f"input {_short(name)} {why}")
        shape = _shape(signature, tensor, one)
        if signature.most_rows and rows not in (None, shape[0]):
            raise Refused(400, f"input {_short(name)} has {shape[0]} rows, another one {rows}")
        rows = shape[0] if signature.most_rows else 1
        size = _object(one.get("parameters", {}), "parameters of an input").get("binary_data_size")
        if size is None:
            arrays[tensor.name] = _from_json(tensor, shape, one.get("data"))
            continue
        wanted = math.prod(shape) * np.dtype(tensor.dtype).itemsize
        if type(size) is not int or size != wanted or place + wanted > len(data):
            raise Refused(
                400,
                f"input {_short(name)}: binary_data_size {_short(size)} with {len(data) - place} bytes left "
                f"of the body, {tensor.datatype}{list(shape)} takes {wanted}",
            )
        arrays[tensor.name] = _from_bytes(tensor, shape, data[place : place + wanted])
        place += wanted
    if missing := [name for name in known if name not in arrays]:
        raise Refused(400, f"input {_short(missing[0])} is missing")
    if place != len(data):
        raise Refused(400, f"{len(data) - place} bytes of binary data belong to no input")
    return arrays, rows or 1


def _shape(signature: Signature, tensor: Tensor, given: dict[str, Any]) -> tuple[int, ...]:
    """The shape that was sent, which is one that the model takes."""
    if given.get("datatype") != tensor.datatype:
        raise Refused(400, f"input {tensor.name} is {tensor.datatype}, not {_short(given.get('datatype'))}")
    shape, own = given.get("shape"), list(tensor.shape or ())
    if isinstance(shape, list) and all(type(size) is int for size in shape):
        most = signature.most_rows
        if most and shape[1:] == own and len(shape) == len(own) + 1 and 1 <= shape[0] <= most:
            return tuple(shape)
        if not most and shape == own:
            return tuple(shape)
    wanted = f"[1 to {', '.join(map(str, [signature.most_rows, *own]))}]" if signature.most_rows else own
    raise Refused(400, f"input {tensor.name} has the shape {_short(shape)}: the model takes {wanted}")


def _from_bytes(tensor: Tensor, shape: tuple[int, ...], data: memoryview) -> np.ndarray:
    if tensor.dtype == "bool":
        # A byte that is neither 0 nor 1 is no `bool` to compiled code.
        truth: np.ndarray = np.frombuffer(data, np.uint8).reshape(shape) != 0
        return truth
    dtype = np.dtype(tensor.dtype)
    little = dtype.newbyteorder("<") if dtype.kind in "iuf" else dtype
    return np.frombuffer(data, little).astype(dtype, copy=False).reshape(shape)


def _from_json(tensor: Tensor, shape: tuple[int, ...], data: Any) -> np.ndarray:
    """Numbers in a flat list, or nested as the shape says."""
    dtype = np.dtype(tensor.dtype)
    kinds: dict[str, set[type]] = {"b": {bool}, "i": {int}, "u": {int}}
    allowed = kinds.get(dtype.kind, {int, float})
    flat, nested = data, [math.prod(shape)]
    if isinstance(data, list) and data and isinstance(data[0], list):
        nested = list(shape)
    for depth in range(len(nested)):
        if depth:
            flat = list(chain.from_iterable(flat))
        inner: set[type] = {list} if depth + 1 < len(nested) else allowed
        wanted = math.prod(nested[: depth + 1])
        if not isinstance(flat, list) or len(flat) != wanted or not set(map(type, flat)) <= inner:
            raise Refused(
                400,
                f"data of input {tensor.name} has to be {math.prod(shape)} numbers for {tensor.datatype}, "
                f"flat or nested as {list(shape)}",
            )
        if inner == {list} and {len(each) for each in flat} - {nested[depth + 1]}:
            raise Refused(400, f"data of input {tensor.name} is not nested as {list(shape)}")
    try:
        with np.errstate(over="ignore"):  # what is too large for a float is an infinity
            return np.array(flat, dtype).reshape(shape)
    except (OverflowError, ValueError, TypeError):
        raise Refused(
            400, f"data of input {tensor.name} has numbers that {tensor.datatype} cannot hold"
        ) from None


def _wanted(signature: Signature, given: Any, binary: bool) -> list[tuple[str, bool]]:
    names = [tensor.name for tensor in signature.outputs]
    if given is None or given == []:
        return [(name, binary) for name in names]
    if not isinstance(given, list) or len(given) > len(names):
        raise Refused(400, f"outputs has to be a list of the model's: {', '.join(names)}")
    found: dict[str, bool] = {}
    for entry in given:
        one = _object(entry, "each of outputs")
        name, parameters = one.get("name"), _object(one.get("parameters", {}), "parameters of an output")
        if not isinstance(name, str) or name not in names or name in found:
            raise Refused(400, f"output {_short(name)}: give each of the model's once: {', '.join(names)}")
        for asked in ("classification", "shared_memory_region"):
            if asked in parameters:
                raise Refused(400, f"output {_short(name)}: {asked} is not served here")
        found[name] = bool(parameters.get("binary_data", binary))
    return list(found.items())


def _timeout(parameters: Mapping[str, Any]) -> float | None:
    given = parameters.get("timeout")
    if given is None:
        return None
    if type(given) is not int or not 0 <= given <= _DAY_US:
        raise Refused(400, f"timeout is in microseconds, from 0 (none) to {_DAY_US}")
    return given / 1e6 or None


def answer(
    model: str, version: str, request: Request, outputs: Mapping[str, np.ndarray]
) -> tuple[list[bytes], int | None]:
    """An answer's body in pieces, and the length of its JSON where binary data follow it.

    NaN and infinities in JSON data are written as `NaN` and `Infinity`, which Triton and Python do too.

    Args:
        model, version: who answers.
        request: what was asked.
        outputs: by name, with the rows of this request alone.
    """
    said, pieces = [], list[bytes]()
    for name, binary in request.outputs:
        array = np.ascontiguousarray(outputs[name])
        entry: dict[str, Any] = {
            "name": name, "datatype": DATATYPES[array.dtype.name], "shape": list(array.shape),
        }  # fmt: skip
        if binary:
            dtype = array.dtype
            little = array.astype(dtype.newbyteorder("<"), copy=False) if dtype.kind in "iuf" else array
            pieces.append(little.tobytes())
            entry["parameters"] = {"binary_data_size": len(pieces[-1])}
        else:
            plain = array if array.dtype.kind in "biuf" else array.astype(np.float32)
            entry["data"] = plain.ravel().tolist()
        said.append(entry)
    whole: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": said}
    if request.id:
        whole["id"] = request.id
    text = json.dumps(whole).encode()
    return [text, *pieces], len(text) if pieces else None


def _short(value: Any) -> str:
    """What a client sent, cut to what a line can show."""
    return brief(value, 100)
