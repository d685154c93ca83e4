"""An open search space: the schedules of a TensorIR program, each told by its trace.

A trace is MetaSchedule's record of a schedule: the instructions that were applied and the random decisions
they took, as JSON. Nobody can list or count the traces of a program, nor say without TVM whether one
applies, so only the searcher that makes them can propose configurations. Each belongs to one program.
"""

import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NoReturn

import numpy as np

from tuner.core.errors import InvalidConfig, InvalidSpace
from tuner.core.space import Config, SearchSpace, Value
from tuner.core.trace_rules import require_known

PARAMETER = "trace"
UNSCHEDULED = "[[],[]]"
"""The trace that does nothing."""
LONGEST = 500_000
"""Characters of a trace; the longest seen, of attention on a GPU, has 30,000."""


def canonical_trace(text: Any) -> str:
    """A trace as compact JSON, so that equal traces are equal texts.

    Args:
        text: `[instructions, decisions]`; an instruction is `[name, inputs, attributes, outputs]`, a decision
            `[number of its instruction, value]`.

    Raises:
        InvalidConfig: it is not that.
    """
    if not isinstance(text, str):
        raise InvalidConfig(f"parameter {PARAMETER} is a text of JSON, not {type(text).__name__}")
    if len(text) > LONGEST:
        raise InvalidConfig(f"parameter {PARAMETER} has {len(text):,} characters: at most {LONGEST:,}")
    return _canonical(text)


# A trial's trace is asked for by its searcher, its identity and its build: it is checked once a process.
@lru_cache(256)
def _canonical(text: str) -> str:
    try:
        return compact(json.loads(text, parse_constant=_refuse))
    except RecursionError:
        raise InvalidConfig(f"parameter {PARAMETER} nests too deeply to be a trace") from None
    except ValueError as error:
        raise InvalidConfig(f"parameter {PARAMETER} is not JSON: {error}") from None


def compact(content: Any) -> str:
    """The canonical text of a trace's JSON; raises `InvalidConfig`, and `RecursionError` for deep nesting.

    Truth values become 1 and 0: TVM writes the same attribute either way, by where the trace came from.
    """
    return json.dumps(_numbers(check_trace(content)), separators=(",", ":"), allow_nan=False)


def _numbers(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    if isinstance(value, dict):
        return {name: _numbers(item) for name, item in value.items()}
    return value


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def check_trace(content: Any) -> list[Any]:
    """The content of a trace's JSON.

    Raises:
        InvalidConfig: it has not the form of a trace, or holds what MetaSchedule's rules do not make
            (`tuner.core.trace_rules`); says where.
    """
    if not isinstance(content, list) or len(content) != 2 or not all(isinstance(p, list) for p in content):
        raise InvalidConfig(f"parameter {PARAMETER} is not a trace: [instructions, decisions] is")
    instructions, decisions = content
    for i, instruction in enumerate(instructions):
        shaped = isinstance(instruction, list) and len(instruction) == 4 and isinstance(instruction[0], str)
        if not shaped or not all(isinstance(part, list) for part in instruction[1:]):
            raise InvalidConfig(f"trace: instruction {i} is not [name, inputs, attributes, outputs]")
    for i, decision in enumerate(decisions):
        shaped = isinstance(decision, list) and len(decision) == 2 and type(decision[0]) is int
        if not shaped or not 0 <= decision[0] < len(instructions):
            raise InvalidConfig(f"trace: decision {i} is not [number of an instruction, value]")
    require_known(instructions, decisions)
    return content


def trace_content(text: Any) -> list[Any]:
    """What `Trace.apply_json_to_schedule` takes: nothing else may be given to it.

    Raises:
        InvalidConfig: see `canonical_trace`.
    """
    return list(json.loads(canonical_trace(text)))


class TraceSpace(SearchSpace):
    """All traces that apply to a program.

    A text is valid here if it has the form of a trace and holds nothing but what MetaSchedule's rules make;
    whether it applies is known when it is built.

    Args:
        program: TVMScript of a module with one function, `main`, not scheduled.
        target: TVM's target, as plain values.
        searcher: the name of the searcher that makes traces.
    """

    def __init__(self, program: str, target: Mapping[str, Any], searcher: str) -> None:
        super().__init__()
        self.program, self.target, self.searcher = program, dict(target), searcher

    def __repr__(self) -> str:
        return f"TraceSpace({self.searcher})"

    @property
    def names(self) -> tuple[str, ...]:
        """`trace`."""
        return (PARAMETER,)

    @property
    def default(self) -> dict[str, Value]:
        """The program as it is, not scheduled."""
        return {PARAMETER: UNSCHEDULED}

    @property
    def exact(self) -> bool:
        """Never: traces are not numbered."""
        return False

    @property
    def size(self) -> int | None:
        """Unknown."""
        return None

    def why_invalid(self, config: Config) -> str | None:
        """Why a configuration is not a trace."""
        try:
            self.check(config)
        except InvalidConfig as error:
            return str(error)
        return None

    def check(self, config: Config) -> dict[str, Value]:
        """The configuration with its trace in canonical form; raises `InvalidConfig`."""
        if set(config) != {PARAMETER}:
            raise InvalidConfig(f"a configuration of this kernel is one parameter, {PARAMETER}")
        return {PARAMETER: canonical_trace(config[PARAMETER])}

    def nearest(self, config: Config) -> dict[str, Value]:
        """The configuration itself; raises `InvalidConfig`: nothing is known of what is near."""
        return self.check(config)

    def rank(self, config: Config) -> int | None:
        """`None`: traces are not numbered."""
        return None

    def neighbours(self, config: Config, reach: int | None = None) -> Iterator[dict[str, Value]]:
        """None are known."""
        return iter(())

    def _open(self) -> InvalidSpace:
        return InvalidSpace(
            f"this space is open: only searcher {self.searcher} can propose its configurations (traces)"
        )

    def indices(self, config: Config) -> tuple[int, ...]:
        """Raises `InvalidSpace`."""
        raise self._open()

    def at(self, rank: int) -> dict[str, Value]:
        """Raises `InvalidSpace`."""
        raise self._open()

    def sample(self, rng: random.Random) -> dict[str, Value]:
        """Raises `InvalidSpace`."""
        raise self._open()

    def __iter__(self) -> Iterator[dict[str, Value]]:
        raise self._open()

    def index_rows(self) -> Iterator[tuple[int, ...]]:
        """Raises `InvalidSpace`."""
        raise self._open()

    def encode(self, configs: Sequence[Config]) -> np.ndarray:
        """Raises `InvalidSpace`."""
        raise self._open()


def plain(value: Any) -> Any:
    """TVM's containers, integers and texts as values of JSON.

    Raises:
        TypeError: JSON has no such value.
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"JSON has no number {value}")
        return value
    if isinstance(value, str):
        return str(value)
    if hasattr(value, "items"):
        return {plain(k): plain(v) for k, v in value.items()}
    if hasattr(value, "__iter__"):
        return [plain(item) for item in value]
    if hasattr(value, "value"):  # IntImm, FloatImm
        return plain(value.value)
    raise TypeError(f"JSON has no {type(value).__name__}")


def trace_text(trace: Any) -> str:
    """The canonical text of a `tvm.s_tir.schedule.Trace`."""
    return compact(plain(trace.as_json()))
