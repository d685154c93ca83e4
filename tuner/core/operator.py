"""An operator: what a kernel has to compute, independent of how."""

import itertools
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from tuner.core.dtypes import floating
from tuner.core.errors import InvalidWorkload, UnknownName
from tuner.core.excerpt import Excerpt, whole
from tuner.core.special import NON_FINITE, extremes, plant, special_mismatch, tiny
from tuner.core.tensors import Tensors, TensorSpec
from tuner.core.workload import LARGEST_DIM, Option, Workload, reads_as_text
from tuner.core.worst_error import worst_error

__all__ = ["Operator", "TensorSpec", "Tensors", "special_mismatch", "worst_error"]


class Operator(ABC):
    """Shapes, inputs, reference, tolerance, flops and bytes of one operator.

    A subclass in its own file under `tuner/operators/` is found by the registry. All it defines holds
    for every kernel of the operator, in every language.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    dtypes: ClassVar[tuple[str, ...]]
    dims: ClassVar[tuple[str, ...]]
    """Dimensions that a shape must give, in the order of the `1x2x3` form."""
    tensors: ClassVar[tuple[str, ...]]
    """Names of all tensors that a workload may have; `signature` says which of them one has. A kernel's
    argument of such a name is a null pointer where the workload has no such tensor."""
    options: ClassVar[Mapping[str, Option]] = {}
    """What else distinguishes workloads, with default values; e.g. `{"relu": False}`."""
    named_options: ClassVar[tuple[str, ...]] = ()
    """Options that a kernel's file honours only where it names them: `options = "operator"` leaves them out.
    For what an operator got after files were written that take all it had."""
    weights: ClassVar[tuple[str, ...]] = ()
    """Inputs that are the same in every call where the option `frozen` says so; others are activations."""
    beside_weights: ClassVar[tuple[str, ...]] = ()
    """Inputs that a program may give once, with frozen weights: a bias, scales. None has to be."""
    example: ClassVar[str]
    """A shape for help texts."""
    untold: ClassVar[Mapping[str, tuple[Option, ...]]] = {}
    """Options that the tensors' shapes do not tell, with the values that `from_shapes` tries. Of a factor,
    which can be any number, only those that are usual."""
    large: ClassVar[str] = ""
    """A shape that keeps a whole GPU busy, for figures of compilers and models; `example` by default."""

    def workload(self, dtype: str = "f32", **values: Any) -> Workload:
        """A canonical workload of named dimensions and options.

        Raises:
            InvalidWorkload: a name is unknown or missing, a value of the wrong type or out of range.
            UnknownName: the dtype is not one of `dtypes`.
        """
        if dtype not in self.dtypes:
            raise UnknownName(f"dtype of {self.name}", dtype, list(self.dtypes))
        unknown = values.keys() - set(self.dims) - self.options.keys()
        if unknown:
            known = ", ".join([*self.dims, *self.options])
            raise InvalidWorkload(f"{self.name} has no dimension or option {min(unknown)!r}: it has {known}")
        missing = [name for name in self.dims if name not in values]
        if missing:
            raise InvalidWorkload(f"{self.name} needs dimension {missing[0]!r}, e.g. {self.example}")
        dims = []
        for name in self.dims:
            size = values[name]
            if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
                # Python refuses to print integers of more than 4,300 digits.
                shown = "a negative one" if isinstance(size, int) and size < -LARGEST_DIM else repr(size)
                raise InvalidWorkload(f"{self.name}: dimension {name} is an integer from 1 up, not {shown}")
            if size > LARGEST_DIM:
                raise InvalidWorkload(f"{self.name}: dimension {name} has at most 18 digits")
            dims.append((name, int(size)))
        options = []
        for name, default in sorted(self.options.items()):
            value = self._option(name, values.get(name, default), default)
            if value != default:
                options.append((name, value))
        workload = Workload(self.name, dtype, tuple(dims), tuple(options))
        self.validate(workload)
        return workload

    def _option(self, name: str, value: Any, default: Option) -> Option:
        wanted = type(default)
        if wanted is float and isinstance(value, int | float) and not isinstance(value, bool):
            try:
                return float(value)
            except OverflowError:
                raise InvalidWorkload(f"{self.name}: option {name} is a number that a float holds") from None
        if wanted is bool and value in (0, 1):
            return bool(value)
        if type(value) is not wanted:
            raise InvalidWorkload(f"{self.name}: option {name} is of type {wanted.__name__}, not {value!r}")
        # A workload's key writes an option as name=value and reads it back by its form.
        if isinstance(value, str) and not (re.fullmatch(r"[\w.-]+", value) and reads_as_text(value)):
            raise InvalidWorkload(f"{self.name}: option {name} is a word, not {value!r}")
        result: Option = value
        return result

    def parse(self, shape: str, dtype: str = "f32", **options: Any) -> Workload:
        """A workload of a text: `64x32x16` in the order of `dims`, or `m64 n32 k16 relu` by name.

        In the form by name an option is a word (`relu`), or a word and a number (`batch4`, `alpha0.5`).

        Raises:
            InvalidWorkload: the text is neither, with what would be right.
        """
        text = shape.strip()
        form = f"{'x'.join(self.dims)} such as {self.example}"
        alone = len(self.dims) == 1 and re.fullmatch(r"-?\d+", text)  # one dimension: no x between numbers
        if alone or (re.fullmatch(r"[^\s,]*x[^\s,]*", text) and not text[:1].isalpha()):
            parts = text.split("x")
            if len(parts) != len(self.dims) or not all(re.fullmatch(r"-?\d+", part) for part in parts):
                raise InvalidWorkload(f"shape {_short(shape)} of {self.name} is not of the form {form}")
            values = {name: self._integer(name, part) for name, part in zip(self.dims, parts, strict=True)}
        else:
            values = self._named(shape, form)
        if twice := sorted(values.keys() & options.keys()):
            raise InvalidWorkload(f"{self.name}: {twice[0]} is given twice, in the shape and beside it")
        return self.workload(dtype, **values, **options)

    def _named(self, shape: str, form: str) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for word in re.split(r"[\s,]+", shape.strip()):
            match = re.fullmatch(r"([a-zA-Z_]+?)=?(-?\d+(?:\.\d+)?(?:e-?\d+)?)?", word)
            name, number = (match[1], match[2]) if match else ("", None)
            if word in self.options:  # a name may end in a digit: relu6 is no relu of 6
                name, number = word, None
            if name not in self.dims and name not in self.options:
                raise InvalidWorkload(
                    f"shape {_short(shape)} of {self.name}: {_short(word)} is not understood; give {form}, "
                    + "or by name: "
                    + " ".join([*(f"{d}N" for d in self.dims), *(f"[{o}]" for o in self.options)])
                )
            if name in values:
                raise InvalidWorkload(f"shape {_short(shape)} of {self.name} gives {name} twice")
            if number is None:
                values[name] = True
            elif isinstance(self.options.get(name), float):
                values[name] = float(number)
            else:
                values[name] = self._integer(name, number)
        return values

    def _integer(self, name: str, text: str) -> int:
        try:
            return int(text)
        except ValueError:  # a fraction, or more digits than Python reads
            raise InvalidWorkload(f"{self.name}: {name} is an integer, not {_short(text)}") from None

    def from_shapes(self, dtype: str, shapes: Sequence[tuple[int, ...]]) -> Iterator[Workload]:
        """The workloads whose tensors have these shapes, as far as `dims_of` and `untold` reach.

        For records that name their tensors and nothing else, such as MetaSchedule's databases.

        Args:
            dtype: of the workload.
            shapes: of all tensors, in the order of `signature`.
        """
        if dtype not in self.dtypes:
            return
        for values in itertools.product(*self.untold.values()):
            options = dict(zip(self.untold, values, strict=True))
            found = self.dims_of(shapes, options)
            if found is None:
                continue
            try:
                workload = self.workload(dtype, **{**options, **found})
            except InvalidWorkload:
                continue
            if tuple(spec.shape for spec in self.signature(workload)) == tuple(map(tuple, shapes)):
                yield workload

    def dims_of(
        self, shapes: Sequence[tuple[int, ...]], options: Mapping[str, Option]
    ) -> Mapping[str, int] | None:
        """The inverse of `signature`: dimensions of a workload with these options, by its tensors' shapes.

        Args:
            shapes: of the tensors of whatever program, in order: any number of them, of any rank.
            options: a value for each of `untold`.

        Returns:
            All `dims`, and those options that shapes do tell (groups, a batch); `None` where the shapes are
            of no workload of these options, and by default: then only named workloads are recognised. It need
            not check everything: `from_shapes` compares the signature of what comes of it.
        """
        return None

    def memory_bytes(self, workload: Workload) -> int:
        """Bytes of all tensors of a workload, before anything is allocated."""
        return sum(spec.nbytes for spec in self.signature(workload))

    def validate(self, workload: Workload) -> None:
        """Checks what no single dimension shows.

        Raises:
            InvalidWorkload: the dimensions do not go together.
        """

    def derived(self, workload: Workload) -> Mapping[str, int]:
        """Sizes that follow from dimensions and options, by name: what many kernels would compute again.

        A kernel's declaration uses them as it does dimensions: in its expressions and as arguments. The names
        are the same for every workload, and differ from those of dimensions, options and tensors. By default
        there are none.
        """
        return {}

    @abstractmethod
    def signature(self, workload: Workload) -> tuple[TensorSpec, ...]:
        """The tensors of a workload, inputs first. Names are what kernels call their arguments."""

    @abstractmethod
    def inputs(self, workload: Workload, seed: int) -> Tensors:
        """Fresh random inputs, C-contiguous; the same seed gives the same values."""

    def special_inputs(self, workload: Workload, seed: int) -> Tensors:
        """`inputs` with special values in some places, on which kernels of `special_values` are verified.

        The operator's docstring says what they have to give. `reference` and `tolerance` take these inputs
        too, without a warning; the results are compared by `special_mismatch`.

        Here, for operators that do not say better: in each floating-point tensor a NaN, both infinities, -0.0
        and denormals, in at most a quarter of its elements; in int8 and uint8 the ends of the range. Other
        integers may be indices and stay as they are. The largest finite values are left out, because sums
        may overflow in f32 and not in the float64 of the reference. An operator that is not defined on
        special values gives its `inputs`.
        """
        tensors = self.inputs(workload, seed)
        rng = np.random.default_rng((seed, 1))
        for array in tensors.values():
            if floating(array.dtype):
                plant(array, rng, (*NON_FINITE, *tiny(str(array.dtype))), 6)
            elif array.dtype.itemsize == 1:
                plant(array, rng, extremes(str(array.dtype)), 64)
        return tensors

    @abstractmethod
    def reference(self, workload: Workload, inputs: Tensors) -> Tensors:
        """The outputs in float64 (or exact int64), by a computation that shares nothing with kernels."""

    def tolerance_of(
        self, workload: "Workload", inputs: "Tensors", reference: "Tensors", accumulator: str
    ) -> "Tensors":
        """The tolerance of a kernel whose sums are made in a type of its own, `f16` or `bf16`.

        Raises:
            InvalidWorkload: the operator says nothing of it.
        """
        if accumulator in ("", "f32"):
            return self.tolerance(workload, inputs, reference)
        raise InvalidWorkload(f"{self.name} has no tolerance for sums in {accumulator}")

    @abstractmethod
    def tolerance(self, workload: Workload, inputs: Tensors, reference: Tensors) -> Tensors:
        """For each output the largest absolute error allowed, broadcastable to its shape; says its source."""

    @abstractmethod
    def flops(self, workload: Workload) -> int:
        """Floating-point (or integer) operations of the plain definition; a multiply-add counts as two."""

    @abstractmethod
    def min_bytes(self, workload: Workload) -> int:
        """Bytes that any implementation must move: each input read once, each output written once."""

    @abstractmethod
    def companions(self, workload: Workload) -> tuple[Workload, ...]:
        """Small workloads of the same options with ragged dimensions, on which a kernel is verified too."""

    def excerpt(self, workload: Workload, inputs: Tensors, rng: np.random.Generator) -> Excerpt:
        """A few random elements of the result with what they depend on, to be computed anew while a kernel is
        timed on inputs that change. By default all is computed; an operator that knows a part which is cheap
        makes every trial cheaper."""
        return whole(self, workload, rng)


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:80]}...")
