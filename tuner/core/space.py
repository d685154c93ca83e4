"""A search space: finite ordered parameters and named constraints, declared once."""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tuner.core.brief import brief
from tuner.core.definitions import NONE, Definitions
from tuner.core.diagram import Diagram, DiagramTooLarge
from tuner.core.errors import InvalidConfig, InvalidSpace
from tuner.core.expression import Expression, parse

Value = bool | int | float | str
Config = Mapping[str, Value]


@dataclass(frozen=True)
class Parameter:
    """A named choice from a finite list, in the order that neighbours are taken from.

    Attributes:
        name: spelled as the kernel's literature spells it (`BLOCK_M`, `num_warps`).
        values: the choices, all distinct; numbers ascending where their order means something.
        doc: what it does, one line.
    """

    name: str
    values: tuple[Value, ...]
    doc: str = ""

    def __post_init__(self) -> None:
        if not self.values:
            raise InvalidSpace(f"parameter {self.name} has no values")
        for value in self.values:
            plain = isinstance(value, bool | int | float | str)
            if isinstance(value, int) and not -(2**63) <= value < 2**64:  # no macro and no model holds it
                raise InvalidSpace(f"parameter {self.name}: {brief(value)} has more than 64 bits")
            if not plain or (isinstance(value, float) and not math.isfinite(value)):
                raise InvalidSpace(
                    f"parameter {self.name}: a value is a finite number, a boolean or a text, not {value!r}"
                )
        # 1 and 1.0 are one value, 1 and True are two.
        if len({(isinstance(v, bool), v) for v in self.values}) != len(self.values):
            raise InvalidSpace(f"parameter {self.name} lists a value twice: {list(self.values)}")

    @property
    def ordinal(self) -> bool:
        """Whether distance along `values` means something: all numbers, no booleans."""
        return all(isinstance(v, int | float) and not isinstance(v, bool) for v in self.values)

    def index(self, value: Any) -> int:
        """The place of a value.

        Raises:
            InvalidConfig: it is not in the list.
        """
        try:
            return self._places[isinstance(value, bool), value]
        except (KeyError, TypeError):  # TypeError: a value that cannot be in a list, such as a list
            pass
        known = str(list(self.values)) if len(self.values) <= 100 else brief(list(self.values))
        raise InvalidConfig(f"parameter {self.name}: {brief(value, 200)} is not one of {known}")

    @cached_property
    def _places(self) -> dict[tuple[bool, Value], int]:
        # Walking along a list of ten thousand values for each neighbour would take minutes.
        return {(isinstance(v, bool), v): i for i, v in enumerate(self.values)}


@dataclass(frozen=True)
class Constraint:
    """A named condition on parameters: `Constraint("l1_fits", "MR * KC * 4 <= l1_bytes")`.

    The expression may use parameters, and the space's constants (dimensions of the workload, limits of
    the target); see `tuner.core.expression` for what else.
    """

    name: str
    expression: str
    doc: str = ""


class SearchSpace:
    """The valid configurations of a kernel for one workload on one target.

    Valid configurations are numbered 0 … size-1 by a decision diagram (`tuner.core.diagram`), so
    counting, uniform sampling, enumeration, and repair are exact and never list the product. Where the
    constraints tie so many parameters together that the diagram would be too large, `exact` is false:
    sampling falls back to rejection (uniform too), enumeration to backtracking, and `size` to `None`.

    Args:
        parameters: in the order shown to people.
        constraints: conditions that every valid configuration meets.
        constants: what constraints may refer to besides parameters.
        definitions: names for expressions, over both, that constraints may use too.

    Raises:
        InvalidSpace: a name is declared twice, or a constraint uses an unknown one.
    """

    searcher: str | None = None
    """The only searcher that can propose from it, where it is open (`tuner.core.trace_space`)."""

    def __init__(
        self,
        parameters: Sequence[Parameter] = (),
        constraints: Sequence[Constraint] = (),
        constants: Mapping[str, Any] | None = None,
        definitions: Definitions = NONE,
    ) -> None:
        self.parameters = tuple(parameters)
        self.constraints = tuple(constraints)
        self.constants = dict(constants or {})
        self.definitions = definitions
        self._by_name = {p.name: p for p in self.parameters}
        if len(self._by_name) != len(self.parameters):
            raise InvalidSpace("a parameter is declared twice")
        self._expressions: list[tuple[Constraint, Expression]] = []
        for constraint in self.constraints:
            try:
                expression = definitions.expand(constraint.expression)
            except InvalidSpace as error:
                raise InvalidSpace(f"constraint {constraint.name}: {error}") from None
            unknown = expression.names - self._by_name.keys() - self.constants.keys()
            if unknown:
                raise InvalidSpace(f"constraint {constraint.name} uses unknown {', '.join(sorted(unknown))}")
            text = sorted(filter(self._may_be_text, expression.arithmetic_names))
            if text:
                raise InvalidSpace(f"constraint {constraint.name}: {text[0]} is a text, only to be compared")
            self._expressions.append((constraint, expression))

    def _may_be_text(self, name: str) -> bool:
        parameter = self._by_name.get(name)
        values = parameter.values if parameter else (self.constants[name],)
        return any(isinstance(value, str) for value in values)

    def __repr__(self) -> str:
        return f"SearchSpace({', '.join(f'{p.name}[{len(p.values)}]' for p in self.parameters)})"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parameters, in order."""
        return tuple(self._by_name)

    @property
    def default(self) -> dict[str, Value] | None:
        """A configuration that is always there, of an open space; `None` where they are sampled instead."""
        return None

    @property
    def product_size(self) -> int:
        """How many combinations there are, valid or not."""
        size = 1
        for p in self.parameters:
            size *= len(p.values)
        return size

    @cached_property
    def _diagram(self) -> Diagram | None:
        outside = {name: value for name, value in self.constants.items() if name not in self._by_name}
        folded = [expression.fold(outside) for _, expression in self._expressions]
        if not all(e.holds({}) for e in folded if not e.names):
            folded = [parse("False")]
        try:
            return Diagram(self.names, [p.values for p in self.parameters], folded)
        except DiagramTooLarge:
            return None

    @property
    def exact(self) -> bool:
        """Whether valid configurations are counted and numbered."""
        return self._diagram is not None

    @property
    def size(self) -> int | None:
        """How many valid configurations there are; `None` where they are not counted."""
        if not self.parameters:
            return 1 if self.why_invalid({}) is None else 0
        return self._diagram.size if self._diagram else None

    def _config(self, indices: Sequence[int]) -> dict[str, Value]:
        return {p.name: p.values[i] for p, i in zip(self.parameters, indices, strict=True)}

    def indices(self, config: Config) -> tuple[int, ...]:
        """The place of each value in its parameter's list.

        Raises:
            InvalidConfig: a parameter is missing, unknown, or has a value outside its list.
        """
        unknown = config.keys() - self._by_name.keys()
        missing = self._by_name.keys() - config.keys()
        if unknown or missing:
            problem = (
                f"unknown parameter {brief(min(unknown), 200)[1:-1]}"
                if unknown
                else f"missing parameter {min(missing)}"
            )
            raise InvalidConfig(f"{problem}: the parameters are {', '.join(self.names) or 'none'}")
        return tuple(p.index(config[p.name]) for p in self.parameters)

    def why_invalid(self, config: Config) -> str | None:
        """Why a configuration is invalid, naming the parameter or the constraint; `None` if it is valid."""
        try:
            self.indices(config)
        except InvalidConfig as error:
            return str(error)
        scope = {**self.constants, **config}
        for constraint, expression in self._expressions:
            if not expression.holds(scope):
                doc = f" ({constraint.doc})" if constraint.doc else ""
                broken = self.definitions.explain(constraint.expression, scope)
                return f"constraint {constraint.name}{doc} is broken: {broken}"
        return None

    def check(self, config: Config) -> dict[str, Value]:
        """The configuration itself, in the order of the parameters.

        Raises:
            InvalidConfig: with what `why_invalid` says.
        """
        reason = self.why_invalid(config)
        if reason is not None:
            raise InvalidConfig(reason)
        return self._config(self.indices(config))

    def __contains__(self, config: Config) -> bool:
        return self.why_invalid(config) is None

    def at(self, rank: int) -> dict[str, Value]:
        """The valid configuration of a rank; needs `exact`.

        Raises:
            IndexError: the rank is not in 0 … size-1, or configurations are not numbered.
        """
        if not self.parameters:
            if rank or not self.size:
                raise IndexError(rank)
            return {}
        if self._diagram is None:
            raise IndexError("this space is too entangled to number its configurations")
        return self._config(self._diagram.at(rank))

    def rank(self, config: Config) -> int | None:
        """The inverse of `at`; `None` where the configuration is invalid or not numbered."""
        if not self.parameters:
            return 0 if self.size and not config else None
        return self._diagram.rank(self.indices(config)) if self._diagram else None

    def __iter__(self) -> Iterator[dict[str, Value]]:
        """Every valid configuration once; lazily, so the first ones come at once."""
        if not self.parameters:
            yield from [{}] * (self.size or 0)
        elif self._diagram is not None:
            for indices in self._diagram:
                yield self._config(indices)
        else:
            yield from self._backtrack({}, list(self._expressions))

    def index_rows(self) -> Iterator[tuple[int, ...]]:
        """`indices` of every valid configuration, in the order of iteration, at less cost than asking."""
        if self.parameters and self._diagram is not None:
            yield from self._diagram
        else:
            yield from map(self.indices, self)

    def _backtrack(
        self, chosen: dict[str, Value], pending: list[tuple[Constraint, Expression]]
    ) -> Iterator[dict[str, Value]]:
        if len(chosen) == len(self.parameters):
            yield dict(chosen)
            return
        parameter = self.parameters[len(chosen)]
        bound = chosen.keys() | {parameter.name} | self.constants.keys()
        closing = [e for _, e in pending if e.names <= bound]
        rest = [(c, e) for c, e in pending if not e.names <= bound]
        for value in parameter.values:
            chosen[parameter.name] = value
            scope = {**self.constants, **chosen}
            if all(e.holds(scope) for e in closing):
                yield from self._backtrack(chosen, rest)
            del chosen[parameter.name]

    def sample(self, rng: random.Random) -> dict[str, Value]:
        """One valid configuration, uniformly.

        Raises:
            InvalidSpace: nothing is valid (or, not `exact`, nothing was found in a million draws).
        """
        if self.size == 0:
            raise InvalidSpace("no configuration meets the constraints: " + self._constraint_names())
        if self.exact:
            return self.at(rng.randrange(self.size or 0))
        for _ in range(1_000_000):
            config = {p.name: rng.choice(p.values) for p in self.parameters}
            scope = {**self.constants, **config}
            if all(e.holds(scope) for _, e in self._expressions):
                return config
        raise InvalidSpace("no valid configuration in a million draws: " + self._constraint_names())

    def _constraint_names(self) -> str:
        return ", ".join(c.name for c in self.constraints)

    def nearest(self, config: Config) -> dict[str, Value]:
        """The valid configuration closest to one that may be invalid: exact, by shortest path.

        The distance is the sum over parameters of steps along an ordinal list, as a share of the list's
        length, or 1 for another value of a categorical one. Needs `exact`; otherwise walks through
        neighbours towards fewer broken constraints would not be exact, so the input is returned if
        valid and an `InvalidSpace` is raised if not.
        """
        indices = self.indices(config)
        if self._diagram is None:
            if self.why_invalid(config) is None:
                return self._config(indices)
            raise InvalidSpace("this space is too entangled to repair configurations")
        if self._diagram.size == 0:
            raise InvalidSpace("no configuration meets the constraints: " + self._constraint_names())
        distances = []
        for parameter, chosen in zip(self.parameters, indices, strict=True):
            steps = np.abs(np.arange(len(parameter.values)) - chosen)
            distances.append(steps / len(parameter.values) if parameter.ordinal else np.minimum(steps, 1.0))
        return self._config(self._diagram.nearest(distances))

    def neighbours(self, config: Config, reach: int | None = None) -> Iterator[dict[str, Value]]:
        """Valid configurations that differ in one parameter, nearest values first.

        Args:
            config: a valid configuration.
            reach: how many steps along an ordinal parameter's list; `None` for all of it.
        """
        indices = self.indices(config)
        for position, parameter in enumerate(self.parameters):
            here = indices[position]
            others = sorted((abs(i - here), i) for i in range(len(parameter.values)) if i != here)
            for distance, i in others:
                if reach is not None and parameter.ordinal and distance > reach:
                    continue
                candidate = {**config, parameter.name: parameter.values[i]}
                if self.why_invalid(candidate) is None:
                    yield candidate

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the columns of `encode`."""
        names: list[str] = []
        for p in self.parameters:
            names += [p.name] if p.ordinal or len(p.values) <= 2 else [f"{p.name}={v}" for v in p.values]
        return tuple(names)

    def encode(self, configs: Sequence[Config]) -> np.ndarray:
        """Configurations as rows of numbers for a model: float64[len(configs), len(feature_names)].

        Ordinal parameters become log2 of their value where all are positive (tile sizes act by ratio), the
        value itself otherwise; two-valued ones 0 or 1; other categorical ones a column a value.

        Raises:
            InvalidConfig: a parameter is missing or has a value outside its list.
        """
        columns: list[np.ndarray] = []
        for p in self.parameters:
            index = {(isinstance(v, bool), v): i for i, v in enumerate(p.values)}
            try:
                places = np.array([index[isinstance(c[p.name], bool), c[p.name]] for c in configs], dtype=int)
            except KeyError:
                for config in configs:
                    self.indices(config)
                raise
            if p.ordinal:
                table = np.array([float(v) for v in p.values])
                columns.append((np.log2(table) if table.min() > 0 else table)[places])
            elif len(p.values) <= 2:
                columns.append(places.astype(float))
            else:
                columns.extend((places == i).astype(float) for i in range(len(p.values)))
        return np.stack(columns, axis=1) if columns else np.zeros((len(configs), 0))
