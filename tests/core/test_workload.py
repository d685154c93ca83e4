"""Workloads and operators: canonical keys, shapes as people write them, errors they can act on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.core.errors import InvalidWorkload, TunerError, UnknownName
from tuner.core.operator import Operator, TensorSpec, worst_error
from tuner.core.workload import Workload


class Row(Operator):
    """Two dimensions, one option of each type."""

    name, summary, dtypes, dims, example = "row", "", ("f32", "f16"), ("rows", "cols"), "4x8"
    options = {"scale": 1.0, "relu": False, "keep": True, "groups": 1, "layout": "nchw"}  # noqa: RUF012

    def signature(self, workload):
        shape = (workload["rows"], workload["cols"])
        return (TensorSpec("X", shape, "float32"), TensorSpec("Y", shape, "float32", output=True))

    def inputs(self, workload, seed):
        raise AssertionError

    reference = tolerance = flops = min_bytes = companions = inputs


ROW = Row()
WORDS = st.from_regex(r"[a-z][a-z0-9_.-]{0,8}", fullmatch=True).filter(
    lambda w: w not in ("nan", "inf", "infinity")
)


@given(
    st.sampled_from(["f32", "f16"]), st.integers(1, 2**40), st.integers(1, 2**40),
    st.fixed_dictionaries({}, optional={
        "scale": st.floats(allow_nan=False), "relu": st.booleans(), "keep": st.booleans(),
        "groups": st.integers(-(2**31), 2**31), "layout": WORDS,
    }),
)  # fmt: skip
def test_a_key_gives_its_workload_back(dtype, rows, cols, options):
    workload = ROW.workload(dtype, rows=rows, cols=cols, **options)
    again = Workload.from_key(workload.key)
    assert again == workload and again.key == workload.key and hash(again) == hash(workload)
    for name, value in options.items():
        assert again.option(name, ROW.options[name]) == value
        assert type(again.option(name, ROW.options[name])) is type(value)


@given(st.integers(1, 9), st.booleans(), st.booleans(), st.integers(1, 3))
def test_different_workloads_have_different_keys(rows, relu, keep, groups):
    here = ROW.workload(rows=rows, cols=2, relu=relu, keep=keep, groups=groups)
    other = ROW.workload(rows=rows, cols=2, relu=not relu, keep=keep, groups=groups)
    assert here.key != other.key


def test_options_at_their_default_do_not_count():
    assert ROW.workload(rows=1, cols=2, relu=0, scale=1, keep=True) == ROW.workload(rows=1, cols=2)
    assert ROW.workload(rows=1, cols=2).key == "row/f32/rows1-cols2"
    assert ROW.workload(rows=1, cols=2, keep=False, scale=2).key == "row/f32/rows1-cols2/keep=False,scale=2.0"


@pytest.mark.parametrize(
    "key", ["", "gemm", "gemm/f32", "gemm/f32/m", "gemm/f32/m1-", "gemm/f32/1", "gemm/f32/m1/", "//m1",
            "a/b/m1/c/d", "gemm/f32/m-1", "gemm/f32/m" + "9" * 5000],
)  # fmt: skip
def test_what_is_no_key_is_refused_in_one_line(key):
    with pytest.raises(InvalidWorkload) as error:
        Workload.from_key(key)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "dims", "options"),
    [
        ("4x8", {"rows": 4, "cols": 8}, {}),
        (" 4x8 ", {"rows": 4, "cols": 8}, {}),
        ("rows4 cols8", {"rows": 4, "cols": 8}, {}),
        ("cols8,rows4", {"rows": 4, "cols": 8}, {}),
        ("rows=4, cols=8 relu", {"rows": 4, "cols": 8}, {"relu": True}),
        ("rows4 cols8 scale0.5 groups2", {"rows": 4, "cols": 8}, {"scale": 0.5, "groups": 2}),
        ("rows4 cols8 scale1e-3", {"rows": 4, "cols": 8}, {"scale": 0.001}),
        ("rows4 cols8 keep0", {"rows": 4, "cols": 8}, {"keep": False}),
    ],
)
def test_shapes_as_people_write_them(text, dims, options):
    workload = ROW.parse(text)
    assert dict(workload.dims) == dims and dict(workload.options) == options


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0x4", "dimension rows is an integer from 1 up, not 0"),
        ("-4x4", "dimension rows is an integer from 1 up, not -4"),
        ("4", "not understood; give rowsxcols such as 4x8"),
        ("4x", "not of the form rowsxcols such as 4x8"),
        ("4x4x4", "not of the form"),
        ("4x4.5", "not of the form"),
        ("4X8", "not understood"),
        ("axb", "'axb' is not understood"),
        ("", "not understood"),
        ("rows4", "needs dimension 'cols', e.g. 4x8"),
        ("rows4 cols", "dimension cols is an integer"),
        ("rows4 cols8 rows4", "gives rows twice"),
        ("rows4 cols8 what1", "'what1' is not understood; .* by name: rowsN colsN"),
        ("rows4.5 cols8", "rows is an integer, not '4.5'"),
        ("rows4 cols8 relu5", "option relu is of type bool, not 5"),
        ("rows4 cols8 scale", "option scale is of type float, not True"),
        ("rows4 cols8 groups1.5", "groups is an integer"),
        ("rows4 cols8\n; drop", "not understood"),
        ("9" * 5000 + "x4", "rows is an integer"),
        ("rows" + "9" * 5000 + " cols4", "rows is an integer"),
    ],
)
def test_a_bad_shape_says_what_would_be_right(text, message):
    with pytest.raises(InvalidWorkload, match=message) as error:
        ROW.parse(text)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize("shape", ["4x8", "rows4 cols8 relu"])
def test_an_option_given_twice_is_refused(shape):
    assert ROW.parse("4x8", relu=True) == ROW.parse("rows4 cols8 relu")
    with pytest.raises(InvalidWorkload, match="given twice"):
        ROW.parse(shape, relu=True, rows=3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rows": 1}, "needs dimension 'cols'"),
        ({"rows": 1, "cols": 2, "x": 3}, "no dimension or option 'x': it has rows, cols, scale"),
        ({"rows": True, "cols": 2}, "dimension rows is an integer"),
        ({"rows": 2.0, "cols": 2}, "dimension rows is an integer"),
        ({"rows": 1, "cols": 2, "groups": 1.0}, "option groups is of type int"),
        ({"rows": 1, "cols": 2, "layout": 3}, "option layout is of type str"),
        ({"rows": 1, "cols": 2, "layout": "a,b"}, "option layout is a word"),
        ({"rows": 1, "cols": 2, "layout": "a/b"}, "option layout is a word"),
        ({"rows": 1, "cols": 2, "layout": "12"}, "option layout is a word"),
        ({"rows": 1, "cols": 2, "layout": "nan"}, "option layout is a word"),
        ({"rows": 1, "cols": 2, "scale": 10**400}, "option scale"),
    ],
)
def test_bad_values_are_named(values, message):
    with pytest.raises(InvalidWorkload, match=message):
        ROW.workload(**values)


def test_an_unknown_dtype_lists_those_there_are():
    with pytest.raises(
        UnknownName, match=r"unknown dtype of row 'f31': did you mean 'f32'[?] known: f16, f32"
    ):
        ROW.workload("f31", rows=1, cols=1)
    assert issubclass(UnknownName, TunerError)


def test_numpy_integers_are_dimensions():
    assert ROW.workload(rows=np.int64(3), cols=np.int32(4)) == ROW.workload(rows=3, cols=4)


def test_bytes_are_counted_without_overflow():
    huge = ROW.workload(rows=2**40, cols=2**40)
    assert ROW.memory_bytes(huge) == 2 * 4 * 2**80


def test_numbers_that_python_does_not_print_are_refused_in_words():
    for size in (10**18, 10**5000):
        with pytest.raises(InvalidWorkload, match="row: dimension rows has at most 18 digits"):
            ROW.workload(rows=size, cols=1)
    with pytest.raises(InvalidWorkload, match="dimension rows is an integer from 1 up, not a negative one"):
        ROW.workload(rows=-(10**5000), cols=1)


def test_a_dimension_that_is_not_there():
    with pytest.raises(KeyError):
        ROW.workload(rows=1, cols=1)["depth"]


def errors(actual, expected, tolerance=0.5):
    expected = np.asarray(expected)
    return worst_error({"D": np.asarray(actual)}, {"D": expected}, {"D": np.asarray(tolerance)})


def test_the_worst_error_is_a_share_of_the_tolerance_with_its_place():
    share, where = errors([[1.0, 2.0], [3.0, 4.25]], [[1.0, 2.1], [3.0, 4.0]])
    assert share == 0.5 and where.startswith("D[1, 1] is 4.25, not 4; 0 of 4 wrong")
    share, where = errors([1.0, 9.0, 9.0], [1.0, 2.0, 2.0])
    assert share == 14.0 and where == "D[1] is 9, not 2; 2 of 3 wrong"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_infinite_errors(bad):
    assert errors([1.0, bad], [1.0, 2.0], 1e30)[0] == np.inf
    assert errors([bad, 1.0], [2.0, 1.0], [np.inf, 1.0] if np.isnan(bad) else 1.0)[0] == np.inf
    assert errors(np.array([1.0, bad], np.float16), [1.0, 2.0])[0] == np.inf


def test_nan_never_passes_even_where_the_reference_is_nan():
    assert errors([np.nan], [np.nan])[0] == np.inf
    assert errors([1.0], [1.5], np.nan)[0] == np.inf


def test_an_infinity_of_the_reference_is_right():
    assert errors([np.inf, -np.inf], [np.inf, -np.inf]) == (0.0, "")
    assert errors([np.inf], [-np.inf])[0] == np.inf


def test_exact_integers_pass_at_no_tolerance_and_fail_by_one():
    exact = np.array([2**31 - 1, -(2**31), 0], np.int64)
    assert errors(exact.astype(np.int32), exact, 0.0)[0] == 0.0
    off = exact.astype(np.int32)
    off[2] = 1
    assert errors(off, exact, 0.0)[0] == np.inf


def test_empty_outputs_have_no_error():
    assert errors(np.zeros((0, 4)), np.zeros((0, 4))) == (0.0, "")


def test_several_outputs_and_tolerances_by_element():
    outputs = {"A": np.array([1.0, 1.2]), "B": np.array([[5.0]])}
    reference = {"A": np.array([1.0, 1.0]), "B": np.array([[4.0]])}
    share, where = worst_error(outputs, reference, {"A": np.array([0.1, 0.4]), "B": np.array(2.0)})
    assert share == pytest.approx(0.5) and where.startswith(("A[1]", "B[0, 0]"))


@pytest.mark.parametrize("outputs", [{}, {"D": np.zeros(3)}, {"D": np.zeros((1, 1))}])
def test_a_missing_or_misshapen_output_never_broadcasts(outputs):
    with pytest.raises(ValueError, match="output D of shape"):
        worst_error(outputs, {"D": np.zeros((3, 3))}, {"D": np.array(1.0)})
