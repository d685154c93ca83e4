"""The model that is asked: what it takes, requests with random inputs, and the right answers to them."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any
from urllib.parse import quote

import numpy as np

from tuner.core.brief import brief
from tuner.core.errors import TunerError, UnknownName
from tuner.model.comparing import difference
from tuner.model.load.http import Answer, Broken, Client

# Requests that differ, sent in turn.
VARIANTS = 16
HEADER = "inference-header-content-length"
_DTYPES = {
    "BOOL": "bool", "INT8": "int8", "INT16": "int16", "INT32": "int32", "INT64": "int64", "UINT8": "uint8",
    "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64", "FP16": "float16", "FP32": "float32",
    "FP64": "float64",
}  # fmt: skip
_MOST_BYTES = 2**28
# Seconds in which a server that is asked nothing else has to answer.
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Body:
    """A request, ready to be sent.

    Attributes:
        data: JSON with the inputs as binary data behind it.
        header_bytes: of the JSON.
    """

    data: bytes
    header_bytes: int


@dataclass
class AskedModel:
    """A model on a server.

    Attributes:
        client: of the server.
        name: of the model.
        inputs: name, datatype and shape of each; a first dimension of -1 is the batch.
        references: right answers to the requests of a batch, in order of the requests.
    """

    client: Client
    name: str
    inputs: Sequence[tuple[str, str, tuple[int, ...]]]
    references: dict[int, list[list[np.ndarray]]] = field(default_factory=dict)

    @property
    def batched(self) -> bool:
        """Whether requests may have as many rows as one likes."""
        return all(shape[:1] == (-1,) for _, _, shape in self.inputs)

    def bodies(self, batch: int, seed: int) -> list[Body]:
        """Requests with inputs of their own: floats of a normal distribution, integers of 0 and 1.

        Raises:
            TunerError: the model has no batch of this size, a size that only it knows, or a type that has no
                random values.
        """
        if batch != 1 and not self.batched:
            raise TunerError(
                f"--batch {batch}: model {self.name} takes the shapes of its file only: leave it out"
            )
        rng, found, shapes = np.random.default_rng(seed), [], []
        for name, datatype, shape in self.inputs:
            sized = (batch, *shape[1:]) if self.batched else shape
            if datatype not in _DTYPES or any(size < 0 for size in sized):
                raise TunerError(f"input {brief(name, 60)} is {datatype}{list(shape)}: no random values fit")
            if VARIANTS * np.prod(sized, dtype=float) * 8 > _MOST_BYTES:
                raise TunerError(f"input {brief(name, 60)} of {list(sized)} is too large for this generator")
            shapes.append(sized)
        for _ in range(VARIANTS):
            entries: list[dict[str, Any]] = []
            data: list[bytes] = []
            for (name, datatype, _), sized in zip(self.inputs, shapes, strict=True):
                dtype = np.dtype(_DTYPES[datatype])
                drawn = rng.standard_normal(sized) if dtype.kind == "f" else rng.integers(0, 2, sized)
                data.append(drawn.astype(dtype).tobytes())
                entries.append({"name": name, "datatype": datatype, "shape": list(sized),
                                "parameters": {"binary_data_size": len(data[-1])}})  # fmt: skip
            text = json.dumps({"inputs": entries, "parameters": {"binary_data_output": True}}).encode()
            found.append(Body(text + b"".join(data), len(text)))
        return found

    async def infer(self, body: Body) -> Answer:
        """Sends a request.

        Raises:
            OSError, Broken: it is not answered.
        """
        headers = {HEADER: str(body.header_bytes), "Content-Type": "application/octet-stream"}
        return await self.client.ask("POST", f"/v2/models/{quote(self.name)}/infer", body.data, headers)

    async def learn(self, batch: int, bodies: Sequence[Body]) -> int:
        """Asks each request alone and keeps the answers as right.

        Returns:
            How many pairs of answers are so alike that one in the place of the other would not be noticed.

        Raises:
            TunerError: one is not answered.
        """
        found = []
        for body in bodies:
            answer = await _reached(self.client, self.infer(body))
            if answer.status != 200:
                raise TunerError(f"{self.client.where} does not answer: {answer.status}, {error_of(answer)}")
            found.append(arrays_of(answer))
        self.references[batch] = found
        return sum(difference(a, b) <= 1 for a, b in combinations(found, 2))

    def is_right(self, batch: int, variant: int, answer: Answer) -> bool:
        """Whether an answer is that of its request, within the tolerance of `difference`."""
        try:
            return difference(arrays_of(answer), self.references[batch][variant]) <= 1
        except (Broken, ValueError, KeyError, TypeError):
            return False


async def find(client: Client, name: str | None) -> AskedModel:
    """A server's model; its only one where no name is given.

    Raises:
        TunerError: the server cannot be reached, says no, or has no such model.
    """
    listed = _json(client, await _reached(client, client.ask("POST", "/v2/repository/index")))
    names = [str(entry["name"]) for entry in listed] if isinstance(listed, list) else []
    if name is None and len(names) == 1:
        name = names[0]
    if name is None:
        raise TunerError(f"{client.where} has {len(names)} models: give --model, one of {', '.join(names)}")
    if name not in names:
        raise UnknownName("model", name, names)
    said = _json(client, await _reached(client, client.ask("GET", f"/v2/models/{quote(name)}")))
    try:
        inputs = [(str(i["name"]), str(i["datatype"]), tuple(map(int, i["shape"]))) for i in said["inputs"]]
    except (KeyError, TypeError, ValueError):
        raise TunerError(f"{client.where} does not say what model {brief(name, 60)} takes") from None
    return AskedModel(client, name, inputs)


async def _reached(client: Client, asking: Any) -> Answer:
    try:
        answer: Answer = await asyncio.wait_for(asking, _PATIENCE_S)
        return answer
    except (OSError, Broken) as error:
        raise TunerError(
            f"{client.where} does not answer: {brief(str(error) or 'in time', 150)}: is 'tuner model serve' "
            "running there?"
        ) from None


def _json(client: Client, answer: Answer) -> Any:
    if answer.status != 200:
        raise TunerError(f"{client.where} answers {answer.status}: {error_of(answer)}")
    try:
        return json.loads(answer.body)
    except ValueError:
        raise TunerError(f"{client.where} does not speak the KServe v2 protocol") from None


def error_of(answer: Answer) -> str:
    """What an answer says went wrong, cut."""
    try:
        said: Mapping[str, Any] = json.loads(answer.body)
        return brief(said["error"], 150)
    except (ValueError, KeyError, TypeError):
        return brief(answer.body[:100], 100)


def arrays_of(answer: Answer) -> list[np.ndarray]:
    """The outputs of an answer, in its order.

    Raises:
        Broken: it is not the protocol's.
    """
    try:
        length = int(answer.headers.get(HEADER, len(answer.body)))
        found, place = [], length
        for output in json.loads(answer.body[:length])["outputs"]:
            shape, size = output["shape"], output.get("parameters", {}).get("binary_data_size")
            dtype = np.dtype(_DTYPES.get(output["datatype"], "uint8"))
            if size is None:
                found.append(np.array(output["data"], dtype).reshape(shape))
                continue
            flat = np.frombuffer(answer.body[place : place + size], dtype)
            # Types that NumPy has not are compared byte by byte.
            found.append(flat.reshape(shape) if output["datatype"] in _DTYPES else flat)
            place += size
        return found
    except (ValueError, KeyError, TypeError) as error:
        raise Broken(f"no answer of the protocol: {brief(str(error), 100)}") from None
