"""What every operator promises, over everything registered: a new file is tested by existing."""

import itertools
from functools import cache

import numpy as np
import pytest

from tuner import registry
from tuner.core.dtypes import floating, limits_of
from tuner.core.errors import InvalidWorkload
from tuner.core.operator import Operator, Tensors, special_mismatch, worst_error
from tuner.core.workload import Workload

SEED = 20
pytestmark = pytest.mark.sampled(40, each="operator")


def varied(operator: Operator, dtype: str) -> list[Workload]:
    """The example, and the example with each option once away from its default where that is valid."""
    workloads = [operator.parse(operator.example, dtype)]
    for name, default in operator.options.items():
        values = [not default] if isinstance(default, bool) else [2, 2.0, 3, 4, 0.5]
        # Some options are of workloads with another one only.
        others = [{}, *({other: True} for other, usual in operator.options.items() if usual is False)]
        for beside, value in itertools.product(others, values):
            try:
                workload = operator.parse(operator.example, dtype, **{**beside, name: value})
            except InvalidWorkload:
                continue
            workloads.append(workload)
            break
    return list(dict.fromkeys(workloads))


EXAMPLES = [
    pytest.param(operator, workload, id=workload.key)
    for operator in registry.operators().values()
    for dtype in operator.dtypes
    for workload in varied(operator, dtype)
]
# Small enough to compute: a few companions of every variant.
CASES = [
    pytest.param(operator, companion, id=companion.key)
    for operator in registry.operators().values()
    for companion in dict.fromkeys(
        companion
        for dtype in operator.dtypes
        for workload in varied(operator, dtype)
        for companion in operator.companions(workload)
    )
]
each_example = pytest.mark.parametrize(("operator", "workload"), EXAMPLES)
each_case = pytest.mark.parametrize(("operator", "workload"), CASES)


@cache
def computed(operator: Operator, workload: Workload) -> tuple[Tensors, Tensors, Tensors]:
    inputs = operator.inputs(workload, SEED)
    reference = operator.reference(workload, inputs)
    return inputs, reference, operator.tolerance(workload, inputs, reference)


def stored(operator: Operator, workload: Workload, outputs: Tensors) -> Tensors:
    """Outputs as a kernel can store them: in the dtype of the signature."""
    dtypes = {spec.name: spec.dtype for spec in operator.signature(workload)}
    return {name: values.astype(dtypes[name]) for name, values in outputs.items()}


def test_there_are_operators() -> None:
    assert "gemm" in registry.operators() and CASES


@pytest.mark.parametrize("operator", registry.operators().values(), ids=lambda o: o.name)
def test_an_operator_describes_itself(operator: Operator) -> None:
    assert operator.summary and operator.dtypes and operator.dims and type(operator).__doc__
    assert operator.workload(**dict(operator.parse(operator.example, operator.dtypes[0]).dims),
                             dtype=operator.dtypes[0])  # fmt: skip
    for method in (operator.tolerance, operator.inputs, operator.reference):
        assert method.__doc__, f"{operator.name}.{method.__name__} says nothing of its values"


@each_example
def test_tensors_and_derived_sizes_have_names_of_their_own(operator: Operator, workload: Workload) -> None:
    """What a kernel's declaration may name: an argument or a size that means two things is a guess."""
    assert {spec.name for spec in operator.signature(workload)} <= set(operator.tensors)
    derived = operator.derived(workload)
    assert derived.keys() == operator.derived(operator.parse(operator.example, operator.dtypes[0])).keys()
    assert all(type(size) is int and size >= 0 for size in derived.values())
    assert not derived.keys() & {*operator.dims, *operator.options, *operator.tensors, "element_bytes"}


@each_example
def test_a_workload_is_canonical(operator: Operator, workload: Workload) -> None:
    assert Workload.from_key(workload.key) == workload
    assert operator.workload(workload.dtype, **dict(workload.dims), **dict(workload.options)) == workload


@each_example
def test_the_signature_names_inputs_then_outputs(operator: Operator, workload: Workload) -> None:
    specs = operator.signature(workload)
    assert len({s.name for s in specs}) == len(specs)
    outputs = [s.output for s in specs]
    assert outputs == sorted(outputs) and True in outputs and False in outputs
    for spec in specs:
        assert all(isinstance(size, int) and size >= 1 for size in spec.shape), spec
        assert np.dtype(spec.dtype).name == spec.dtype


@each_example
def test_work_is_counted_before_anything_is_allocated(operator: Operator, workload: Workload) -> None:
    total = sum(spec.nbytes for spec in operator.signature(workload))
    assert operator.memory_bytes(workload) == total
    assert 0 < operator.min_bytes(workload) <= total
    assert isinstance(operator.flops(workload), int) and operator.flops(workload) > 0


@each_example
def test_companions_are_small_distinct_and_of_the_same_kind(operator: Operator, workload: Workload) -> None:
    companions = operator.companions(workload)
    assert companions and len(set(companions)) == len(companions)
    for companion in companions:
        assert (companion.operator, companion.dtype) == (workload.operator, workload.dtype)
        # A shape may leave no room for an option (a padding wider than the image), not change it.
        assert set(companion.options) <= set(workload.options)
        assert (
            operator.workload(companion.dtype, **dict(companion.dims), **dict(companion.options)) == companion
        )
        assert operator.memory_bytes(companion) < 64 * 2**20
        assert operator.flops(companion) < 10**9
    assert any(size % 4 for companion in companions for _, size in companion.dims)  # ragged


@each_example
def test_companions_keep_every_option(operator: Operator, workload: Workload) -> None:
    # At least one of them must have every option, or a kernel would never be verified with it.
    assert any(companion.options == workload.options for companion in operator.companions(workload))


@each_case
def test_inputs_are_those_of_the_signature_and_of_the_seed(operator: Operator, workload: Workload) -> None:
    specs = {s.name: s for s in operator.signature(workload) if not s.output}
    first, again = operator.inputs(workload, SEED), operator.inputs(workload, SEED)
    other = operator.inputs(workload, SEED + 1)
    assert first.keys() == specs.keys()
    for name, array in first.items():
        assert (array.shape, array.dtype.name) == (specs[name].shape, specs[name].dtype), name
        assert array.flags.c_contiguous and np.isfinite(array).all(), name
        assert array.tobytes() == again[name].tobytes(), name
        assert not np.shares_memory(array, again[name])
    assert any((first[name] != other[name]).any() for name in specs)


@each_case
def test_the_reference_is_exact_and_touches_nothing(operator: Operator, workload: Workload) -> None:
    inputs = operator.inputs(workload, SEED)
    kept = {name: array.copy() for name, array in inputs.items()}
    reference = operator.reference(workload, inputs)
    for name, array in inputs.items():
        np.testing.assert_array_equal(array, kept[name])
    specs = {s.name: s for s in operator.signature(workload) if s.output}
    assert reference.keys() == specs.keys()
    for name, array in reference.items():
        assert array.shape == specs[name].shape
        whole = np.dtype(specs[name].dtype).kind == "i"
        assert array.dtype == (np.int64 if whole else np.float64) and np.isfinite(array).all()
        limits = np.iinfo(specs[name].dtype) if whole else limits_of(specs[name].dtype)
        assert array.min() >= limits.min and array.max() <= limits.max, f"{name} overflows its dtype"


@each_case
def test_the_tolerance_is_positive_where_results_are_rounded(operator: Operator, workload: Workload) -> None:
    _, reference, tolerance = computed(operator, workload)
    assert tolerance.keys() == reference.keys()
    for spec in operator.signature(workload):
        if spec.output:
            allowed = np.broadcast_to(tolerance[spec.name], spec.shape)
            assert np.isfinite(allowed).all() and (allowed >= 0).all()
            if floating(np.dtype(spec.dtype)):
                assert (allowed > 0).all()


@each_case
def test_the_best_a_kernel_can_store_passes(operator: Operator, workload: Workload) -> None:
    _, reference, tolerance = computed(operator, workload)
    share, where = worst_error(stored(operator, workload, reference), reference, tolerance)
    assert share <= 0.5, where  # half at most goes to storing: the rest is left for computing


@each_case
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_one_unwritten_element_fails(operator: Operator, workload: Workload, poison: float) -> None:
    _, reference, tolerance = computed(operator, workload)
    outputs = {name: values.astype(np.float64) for name, values in reference.items()}
    for values in outputs.values():
        values.flat[values.size // 2] = poison
        assert worst_error(outputs, reference, tolerance)[0] == np.inf


def single(reference: Tensors) -> bool:
    """Whether there is one element only, which may well be zero, or the same for other inputs."""
    return all(values.size == 1 for values in reference.values())


@each_case
def test_zeros_fail(operator: Operator, workload: Workload) -> None:
    _, reference, tolerance = computed(operator, workload)
    zeros = {name: np.zeros_like(values) for name, values in reference.items()}
    if any(np.any(values) for values in reference.values()):
        assert worst_error(zeros, reference, tolerance)[0] > 1
    else:
        assert single(reference)


@each_case
def test_results_in_the_wrong_places_fail(operator: Operator, workload: Workload) -> None:
    _, reference, tolerance = computed(operator, workload)
    moved = {name: np.roll(values.ravel(), 1).reshape(values.shape) for name, values in reference.items()}
    if any(len(np.unique(values)) > 1 for values in reference.values()):
        assert worst_error(moved, reference, tolerance)[0] > 1
    else:
        assert single(reference)


@each_case
def test_the_results_of_other_inputs_fail(operator: Operator, workload: Workload) -> None:
    _, reference, tolerance = computed(operator, workload)
    other = operator.reference(workload, operator.inputs(workload, SEED + 1))
    if any((other[name] != values).any() for name, values in reference.items()):
        assert worst_error(other, reference, tolerance)[0] > 1
    else:
        assert single(reference)


@each_case
def test_an_excerpt_is_what_the_whole_has_there_and_depends_on_what_it_says(
    operator: Operator, workload: Workload
) -> None:
    """Kernels are checked by it while they are timed on inputs that change in place."""
    inputs, reference, tolerance = computed(operator, workload)
    rng = np.random.default_rng(3)
    for _ in range(3):
        excerpt = operator.excerpt(workload, inputs, rng)
        values, allowed = excerpt.expected(operator, inputs)
        assert values.keys() == reference.keys()
        for name, at in excerpt.outputs.items():
            assert at.size and at.size == np.unique(at).size
            known = reference[name].reshape(-1)[at]
            rounding = 1e-12 * (1 + np.abs(known))
            assert (np.abs(values[name] - known) <= rounding).all()
            whole = np.broadcast_to(tolerance[name], reference[name].shape).reshape(-1)[at]
            assert (allowed[name] >= 0).all() and (allowed[name] <= 2 * whole + 1e-300).all()
        changed = dict(inputs)
        for name, at in excerpt.inputs.items():
            assert at.size and at.max() < inputs[name].size
            # What is not among the named elements may be anything: it is not of this excerpt.
            other = np.zeros_like(inputs[name]).reshape(-1)
            other[at] = inputs[name].reshape(-1)[at]
            changed[name] = other.reshape(inputs[name].shape)
        again, _ = excerpt.expected(operator, changed)
        assert all(np.array_equal(again[name], values[name]) for name in values)


@each_case
def test_a_changed_input_changes_an_excerpt(operator: Operator, workload: Workload) -> None:
    inputs, _, _ = computed(operator, workload)
    excerpt = operator.excerpt(workload, inputs, np.random.default_rng(5))
    before, allowed = excerpt.expected(operator, inputs)
    seen = False
    for name, at in excerpt.inputs.items():
        other = inputs[name].reshape(-1).copy()
        other[at] = -other[at]
        after, _ = excerpt.expected(operator, {**inputs, name: other.reshape(inputs[name].shape)})
        seen |= any((np.abs(after[o] - before[o]) > 4 * allowed[o]).any() for o in before)
    assert seen or all((values == 0).all() for values in before.values())


@each_case
@pytest.mark.filterwarnings("error")
def test_special_inputs_are_of_the_seed_and_have_a_reference(operator: Operator, workload: Workload) -> None:
    """Special values are there, the reference and the tolerance take them without a warning, and most outputs
    are none: where all were NaN, a NaN that spread would not be seen."""
    specs = {s.name: s for s in operator.signature(workload) if not s.output}
    first, again = operator.special_inputs(workload, SEED), operator.special_inputs(workload, SEED)
    ordinary = operator.inputs(workload, SEED)
    assert first.keys() == specs.keys()
    changed = False
    for name, array in first.items():
        assert (array.shape, array.dtype.name) == (specs[name].shape, specs[name].dtype), name
        assert array.flags.c_contiguous, name
        assert array.tobytes() == again[name].tobytes(), name
        changed |= not np.array_equal(array, ordinary[name])
    assert changed
    reference = operator.reference(workload, first)
    tolerance = operator.tolerance(workload, first, reference)
    with np.errstate(over="ignore"):  # what is beyond the type's range is an infinity
        best = stored(operator, workload, reference)
    assert special_mismatch(best, reference, tolerance) is None


@pytest.mark.parametrize("operator", registry.operators().values(), ids=lambda o: o.name)
@pytest.mark.parametrize("dtype", ["f32", "f16"])
def test_special_values_reach_some_outputs_and_not_most(operator: Operator, dtype: str) -> None:
    if dtype not in operator.dtypes:
        pytest.skip(f"{operator.name} has no {dtype}")
    for workload in varied(operator, dtype):
        found: list[np.ndarray] = []
        for companion in operator.companions(workload):
            reference = operator.reference(companion, operator.special_inputs(companion, SEED))
            found += [values.ravel() for values in reference.values()]
        outputs = np.concatenate(found)
        finite = np.isfinite(outputs).mean()
        assert 0.2 < finite < 1, f"{workload.key}: {finite:.0%} of all outputs are finite"
        # What is limited on both sides is never infinite.
        limited = any(workload.option(name, False) for name in ("relu6", "tanh"))
        infinite = np.isinf(outputs).any() or limited
        assert np.isnan(outputs).any() and infinite, workload.key


@each_example
def test_a_workload_is_recognised_by_its_tensors_shapes(operator: Operator, workload: Workload) -> None:
    """`from_shapes` names nothing with other tensors, and the workload itself where its options allow."""
    shapes = [spec.shape for spec in operator.signature(workload)]
    found = list(operator.from_shapes(workload.dtype, shapes))
    assert all([spec.shape for spec in operator.signature(w)] == shapes for w in found)
    assert len(set(found)) == len(found)
    told = operator.dims_of(shapes, {name: values[0] for name, values in operator.untold.items()}) or {}
    options = dict(workload.options)
    if told and all(
        name in told or value in operator.untold.get(name, ()) for name, value in options.items()
    ):
        assert workload in found


@pytest.mark.parametrize("operator", registry.operators().values(), ids=lambda o: o.name)
def test_shapes_of_something_else_are_no_workload(operator: Operator) -> None:
    for shapes in (
        [],
        [()],
        [(3,), (3,), (3,)],
        [(0, 0)] * 3,
        [(2, 3), (5, 7), (11, 13)],
        [(0, 0, 0, 0)] * 3,
    ):
        assert list(operator.from_shapes(operator.dtypes[0], shapes)) == []
