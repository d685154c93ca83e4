"""What is inside of the attention blocks, in two layouts of the scores.

Along `queries` a vector holds one key and neighbouring queries: the softmax over keys runs from vector to
vector with no work across lanes, as suits many queries. Along the `head` dimension a vector holds a piece of
one query or key, and a score is a sum across lanes: it suits the few queries of decoding, which would leave
lanes empty otherwise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from textwrap import indent

HIDDEN = "T.float32('-inf')"
"""A score that is not there: below any that is, however negative."""
LARGEST_OF_NONE = "T.float32(-3.4028234663852886e38)"
"""The largest score of no keys. Not infinity: the difference of two would be a NaN."""

# 2^x = 2^n * 2^f for x <= 0 by the polynomial of cuda_src/common/exp2.h: it errs by at most 1.94e-7
# for -126 <= x <= 0 and is 0 below -127; tests/kernels/test_attention_tensorir.py measures it.
_COEFFICIENTS = (
    0.001326465280726552, 0.009671511128544807, 0.05550733953714371, 0.24022242426872253, 0.6931470036506653,
    1.0,
)  # fmt: skip
# 1.5 * 2^23 rounds to an integer; 127 more, and the low bits are the exponent of 2^n.
_MAGIC = "T.float32(12583039)"


@dataclass(frozen=True)
class Sizes:
    """The sizes that blocks are made of, in elements.

    Attributes:
        d, width: the head dimension, and filled up to whole vectors.
        queries: rows of a panel; along queries whole vectors.
        keys: keys of the register tile of scores.
        block: keys between two rescalings, a multiple of `key_step`.
        rows, columns: of the register tile of the output; they divide `queries` and `width`.
        unroll: steps of d, and of keys, in the bodies of the two products' loops.
        lanes: elements of a vector.
        along_head: the layout, see above.
    """

    d: int
    width: int
    queries: int
    keys: int
    block: int
    rows: int
    columns: int
    unroll: int
    lanes: int
    along_head: bool

    @property
    def key_step(self) -> int:
        """Scores are computed for whole multiples of so many keys."""
        return max(self.keys, self.lanes) if self.along_head else self.keys

    # Elements by their place in a panel or block. The tile's own dimensions are folded into that of the panel
    # or block: `compute_at` solves regions of the form [v * size, v * size + size) only.

    def query(self, row: str, t: str) -> str:
        """Element `t` of a packed query."""
        inner = f"({row}) * {self.width} + {t}" if self.along_head else f"({t}) * {self.queries} + {row}"
        return f"packed_q[vh, vn * {self.query_panel} + ({inner})]"

    def score(self, key: str, row: str) -> str:
        """The score of a key of the block."""
        inner = f"({row}) * {self.block} + {key}" if self.along_head else f"({key}) * {self.queries} + {row}"
        return f"S[vh, vp, vn, vk * {self.block * self.queries} + ({inner})]"

    def sums(self, row: str, column: str, part: str = "vp") -> str:
        """What a row has summed up of values."""
        inner = f"({row}) * {self.width} + {column}"
        return f"acc[vh, {part}, vn * {self.queries * self.width} + ({inner})]"

    def state(self, name: str, row: str, part: str = "vp") -> str:
        """`top`, the largest score of a row so far, or `total`, the sum of its probabilities."""
        return f"{name}[vh, {part}, vn * {self.queries} + {row}]"

    @property
    def query_panel(self) -> int:
        """Elements of a packed panel of queries."""
        return self.queries * (self.width if self.along_head else self.d)

    @property
    def key_panel(self) -> int:
        """Elements of a copied block of keys."""
        return self.block * (self.width if self.along_head else self.d)


@dataclass(frozen=True)
class Body:
    """The inside of a block: its own buffers, its statements, and the initial ones of a reduction."""

    locals: tuple[str, ...]
    text: str
    init: str = ""


def _local(name: str, *shape: int) -> str:
    """A buffer of the block's own. Of less than 1 KiB TVM puts it on the stack, and LLVM into registers."""
    return f"{name} = T.sblock_alloc_buffer({shape})"


def _loops(text: str, *loops: str) -> str:
    """`text` inside of loops, outermost first, such as `i in T.unroll(4)`."""
    for loop in reversed(loops):
        text = f"for {loop}:\n{indent(text, '    ')}"
    return text


def _steps(count: str, unroll: int, step: Callable[[str], str]) -> str:
    """`step` for every number below `count`, `unroll` of them in the body of the loop."""
    if unroll == 1:
        return _loops(step("u"), f"u in T.serial({count})")
    known = count.isdigit()
    text = _loops(
        step(f"(w * {unroll} + u)"), f"w in T.serial({count} // {unroll})", f"u in T.unroll({unroll})"
    )
    if known and int(count) % unroll == 0:
        return text
    rest = f"{count} - {count} // {unroll} * {unroll}"
    return text + "\n" + _loops(step(f"({count} // {unroll} * {unroll} + u)"), f"u in T.serial({rest})")


def exp2(to: str, x: str, lanes: int, after: str = "") -> str:
    """`to` = 2^x for the lanes `l` of one vector; needs the buffers of `exp2_locals`.

    A block has it twice at least: a buffer that is used within one vectorized loop alone TVM would allocate
    inside of it, one element for all lanes.
    """
    polynomial = f"T.float32({_COEFFICIENTS[0]!r})"
    for coefficient in _COEFFICIENTS[1:]:
        polynomial = f"({polynomial} * xs[l] + T.float32({coefficient!r}))"
    power = 'T.reinterpret("float32", T.shift_left(T.reinterpret("int32", ys[l]), 23))'
    lines = [
        f"xs[l] = T.max(T.float32(-127), {x})",
        f"ys[l] = xs[l] + {_MAGIC}",
        f"xs[l] = xs[l] - (ys[l] - {_MAGIC})",
        f"{to} = {polynomial} * {power}",
    ]
    return _loops("\n".join([*lines, after] if after else lines), f"l in T.vectorized({lanes})")


def exp2_locals(lanes: int) -> tuple[str, ...]:
    """The local buffers that `exp2` needs, as declarations."""
    return (_local("xs", lanes), _local("ys", lanes))


def _vectors(s: Sizes, *loops: str) -> tuple[str, ...]:
    """Loops over the vectors of a row of queries; the lane is `v * lanes + l`."""
    return (*loops, f"v in T.unroll({s.queries // s.lanes})", f"l in T.vectorized({s.lanes})")


def score(
    s: Sizes, count: str,
    key: Callable[[str, str, str], str], hidden: Callable[[str, str, str], str],
) -> Body:  # fmt: skip
    """Scores of all `count` keys, and of some behind them, which are hidden.

    Args:
        s: sizes.
        count: how many keys, an expression.
        key: the element (first key of a tile, key of the tile, column) of the keys.
        hidden: a score of (value, key, row), or `HIDDEN` where the row does not see the key.
    """
    if s.along_head:
        return _score_along_head(s, count, key, hidden)
    lane, first = f"v * {s.lanes} + l", f"tile * {s.keys}"

    def step(t: str) -> str:
        text = f"s[i, {lane}] = s[i, {lane}] + {key(first, 'i', t)} * {s.query(lane, t)}"
        return _loops(text, *_vectors(s, f"i in T.unroll({s.keys})"))

    tiles = _vectors(s, f"i in T.unroll({s.keys})")
    value = hidden(f"s[i, {lane}]", f"{first} + i", lane)
    lines = [
        _loops(f"s[i, {lane}] = T.float32(0)", *tiles),
        _steps(str(s.d), s.unroll, step),
        _loops(f"{s.score(f'{first} + i', lane)} = {value}", *tiles),
    ]
    loop = f"tile in T.serial({_ceildiv(count, s.keys)})"
    return Body((_local("s", s.keys, s.queries),), _loops("\n".join(lines), loop))


def _score_along_head(
    s: Sizes, count: str, key: Callable[[str, str, str], str], hidden: Callable[[str, str, str], str]
) -> Body:
    first = f"tile * {s.keys}"
    tile = (f"r in T.unroll({s.queries})", f"i in T.unroll({s.keys})")

    def step(t: str) -> str:
        column = f"{t} * {s.lanes} + l"
        text = f"s[r, i, l] = s[r, i, l] + {s.query('r', column)} * {key(first, 'i', column)}"
        return _loops(text, *tile, f"l in T.vectorized({s.lanes})")

    lines = [
        _loops("s[r, i, l] = T.float32(0)", *tile, f"l in T.vectorized({s.lanes})"),
        _steps(str(s.width // s.lanes), s.unroll, step),
        _loops(_across("s[r, i, {}]", s.lanes, "{} + {}"), *tile),
        _loops(f"{s.score(f'{first} + i', 'r')} = {hidden('s[r, i, 0]', f'{first} + i', 'r')}", *tile),
    ]
    tiles = f"{_ceildiv(count, s.key_step)} * {s.key_step // s.keys}"
    return Body(
        (_local("s", s.queries, s.keys, s.lanes),), _loops("\n".join(lines), f"tile in T.serial({tiles})")
    )


def _across(element: str, lanes: int, combine: str) -> str:
    """All lanes into lane 0, halving the vector each time."""
    lines, half = [], lanes // 2
    while half:
        here, there = element.format("l"), element.format(f"l + {half}")
        lines.append(_loops(f"{here} = {combine.format(here, there)}", f"l in T.vectorized({half})"))
        half //= 2
    return "\n".join(lines)


def _ceildiv(count: str, by: int) -> str:
    return str(-(-int(count) // by)) if count.isdigit() else f"(({count} + {by - 1}) // {by})"


def attend(
    s: Sizes, count: str, value: Callable[[str, str], str], seen: Callable[[str], str] | None = None
) -> Body:
    """The softmax of a block of scores and what it weights, behind what was seen before.

    Args:
        s: sizes.
        count: how many keys, an expression.
        value: the element (key of the block, column) of the values.
        seen: under a mask, how many keys from the block's first on a row sees, which may be more than
            `count` or below 0, and grows with the row.
    """
    none = f"{s.state('top', 'i')} = {LARGEST_OF_NONE}\n{s.state('total', 'i')} = T.float32(0)"
    zero = f"{s.sums('i', f'c * {s.lanes} + l')} = T.float32(0)"
    row, vectors = f"i in T.serial({s.queries})", f"c in T.serial({s.width // s.lanes})"
    init = _loops(none, row) + "\n" + _loops(zero, row, vectors, f"l in T.vectorized({s.lanes})")
    softmax = _softmax_of_rows(s, count) if s.along_head else _softmax_of_panel(s, count)
    locals_ = (*softmax.locals, _local("o", s.rows, s.columns), *exp2_locals(s.lanes))
    return Body(locals_, softmax.text + "\n" + _output(s, count, value, seen), init)


def _softmax_of_panel(s: Sizes, count: str) -> Body:
    lane = f"v * {s.lanes} + l"
    top, total, score = s.state("top", lane), s.state("total", lane), s.score("j", lane)
    vectors = f"v in T.unroll({s.queries // s.lanes})"
    keys = f"j in T.serial({_ceildiv(count, s.keys)} * {s.keys})"
    after = f"{top} = new[{lane}]\nsum[{lane}] = {total} * factor[{lane}]"
    rescale = exp2(f"factor[{lane}]", f"{top} - new[{lane}]", s.lanes, after)
    p = f"P[j, {lane}]"
    weigh = exp2(p, f"{score} - new[{lane}]", s.lanes, f"sum[{lane}] = sum[{lane}] + {p}")
    lines = [
        _loops(f"new[{lane}] = {top}", *_vectors(s)),
        _loops(f"new[{lane}] = T.max(new[{lane}], {score})", *_vectors(s, keys)),
        _loops(rescale, vectors),
        _loops(weigh, keys, vectors),
        _loops(f"{total} = sum[{lane}]", *_vectors(s)),
    ]
    own = (_local("new", s.queries), _local("sum", s.queries), _local("factor", s.queries))
    return Body((*own, _local("P", s.block, s.queries)), "\n".join(lines))


def _softmax_of_rows(s: Sizes, count: str) -> Body:
    """Vectors of neighbouring keys; every lane of `factor` is the same."""
    top, total, score = s.state("top", "r"), s.state("total", "r"), s.score(f"j * {s.lanes} + l", "r")
    keys, lanes = f"j in T.serial({_ceildiv(count, s.lanes)})", f"l in T.vectorized({s.lanes})"
    place = f"P[r, j * {s.lanes} + l]"
    text = "\n".join([
        _loops(f"new[l] = {top}", lanes),
        _loops(f"new[l] = T.max(new[l], {score})", keys, lanes),
        _across("new[{}]", s.lanes, "T.max({}, {})"),
        "largest[0] = new[0]",
        exp2("factor[r, l]", f"{top} - largest[0]", s.lanes, "sum[l] = T.float32(0)"),
        f"{top} = largest[0]",
        _loops(exp2(place, f"{score} - largest[0]", s.lanes, f"sum[l] = sum[l] + {place}"), keys),
        _across("sum[{}]", s.lanes, "{} + {}"),
        f"{total} = {total} * factor[r, 0] + sum[0]",
    ])  # fmt: skip
    own = (
        _local("new", s.lanes),
        _local("largest", 1),
        _local("sum", s.lanes),
        _local("factor", s.queries, s.lanes),
    )
    return Body((*own, _local("P", s.queries, s.block)), _loops(text, f"r in T.unroll({s.queries})"))


def _output(s: Sizes, count: str, value: Callable[[str, str], str], seen: Callable[[str], str] | None) -> str:
    """Rows times columns in registers: rescaled, then the block's probabilities times its values.

    Under a mask a tile of rows ends with the last key that one of them sees. Of those that not all of them
    see a product is selected, not multiplied by a probability of 0: 0 times a NaN is a NaN.
    """
    row, column = f"rt * {s.rows} + r", f"ct * {s.columns} + v * {s.lanes} + l"
    here = f"o[r, v * {s.lanes} + l]"
    tile = (
        f"r in T.unroll({s.rows})", f"v in T.unroll({s.columns // s.lanes})", f"l in T.vectorized({s.lanes})",
    )  # fmt: skip
    sums = s.sums(row, column)
    factor = f"factor[{row}, l]" if s.along_head else f"factor[{row}]"

    def product(j: str) -> str:
        p = f"P[{row}, {j}]" if s.along_head else f"P[{j}, {row}]"
        return f"{p} * {value(j, column)}"

    def step(j: str) -> str:
        return _loops(f"{here} = {here} + {product(j)}", *tile)

    lines = [_loops(f"{here} = {sums} * {factor}", *tile)]
    if seen is None or s.rows == 1:
        ends = count if seen is None else _clamped(seen(f"rt * {s.rows}"), count)
        lines.append(_steps(ends, s.unroll, step))
    else:
        all_see = _clamped(seen(f"rt * {s.rows}"), count)
        some_see = _clamped(seen(f"rt * {s.rows} + {s.rows - 1}"), count)
        selected = f"T.Select({all_see} + u < {seen(row)}, {product(f'({all_see} + u)')}, T.float32(0))"
        lines.append(_steps(all_see, s.unroll, step))
        rest = _loops(f"{here} = {here} + {selected}", *tile)
        lines.append(_loops(rest, f"u in T.serial({some_see} - {all_see})"))
    lines.append(_loops(f"{sums} = {here}", *tile))
    return _loops(
        "\n".join(lines), f"rt in T.serial({s.queries // s.rows})", f"ct in T.serial({s.width // s.columns})"
    )


def _clamped(keys: str, count: str) -> str:
    return f"T.max(0, T.min({keys}, {count}))"


def write(s: Sizes, rows: int, whole: bool, parts: int) -> Body:
    """The parts' sums, each times what its largest score says, over the sum of all probabilities.

    Args:
        s: sizes.
        rows: of the matrix; `whole`: whether panels hold nothing else.
        whole: see `rows`.
        parts: parts of the keys.
    """
    own = [_local("scale", parts, s.queries)]
    lines: list[str] = []
    if parts == 1:
        lines.append(
            _loops(
                f"scale[0, i] = T.float32(1) / {s.state('total', 'i', '0')}", f"i in T.serial({s.queries})"
            )
        )
    else:
        own += [_local("best", 1), _local("whole", 1), *exp2_locals(1)]
        each = f"p in T.serial({parts})"
        weight = exp2("scale[p, i]", f"{s.state('top', 'i', 'p')} - best[0]", 1)
        text = "\n".join([
            f"best[0] = {LARGEST_OF_NONE}",
            _loops(f"best[0] = T.max(best[0], {s.state('top', 'i', 'p')})", each),
            "whole[0] = T.float32(0)",
            _loops(f"{weight}\nwhole[0] = whole[0] + scale[p, i] * {s.state('total', 'i', 'p')}", each),
            _loops("scale[p, i] = scale[p, i] / whole[0]", each),
        ])  # fmt: skip
        lines.append(_loops(text, f"i in T.serial({s.queries})"))
    first = f"vn * {s.queries}"
    count = str(s.queries) if whole else f"T.max(0, T.min({s.queries}, {rows} - {first}))"

    def store(column: str) -> str:
        terms = [f"{s.sums('i', column, str(p))} * scale[{p}, i]" for p in range(parts)]
        return f"O[vh, {first} + i, {column}] = {' + '.join(terms)}"

    loops = (f"i in T.serial({count})",)
    text, d = "", s.d
    if d >= s.lanes:
        text = _loops(
            store(f"c * {s.lanes} + l"), f"c in T.serial({d // s.lanes})", f"l in T.vectorized({s.lanes})"
        )
    if d % s.lanes:
        text += "\n" + _loops(store(f"{d // s.lanes * s.lanes} + t"), f"t in T.serial({d % s.lanes})")
    lines.append(_loops(text.strip(), *loops))
    return Body(tuple(own), "\n".join(lines))
