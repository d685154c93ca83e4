"""Attention as TensorIR blocks over tiles, unscheduled: pack, score, attend, write.

The blocks and what they leave to a schedule:

- `pack_q`: queries times scale * log2(e), in the order in which `score` reads them; zeros behind the last.
- `copy_k`, `copy_v`: blocks of keys or values as `score` and `attend` read them best, out of their pages
  where they lie in pages. Not there where the tensors are read in place.
- `score`: the scores of one panel of queries and one block of keys.
- `attend`: a reduction over blocks of keys: the softmax of what has been seen so far and the sums it
  weights, rescaled when a larger score turns up (Milakov and Gimelshein, Online normalizer calculation for
  softmax, 2018; Dao et al., FlashAttention, NeurIPS 2022).
- `write`: the sums of all parts of the keys, combined (Dao et al., Flash-Decoding, 2023), divided, stored.

A panel is `queries` rows of one head. What is inside of a block is fixed by `vectors`; which loops over
panels, parts and blocks of keys surround it, and where each block is computed, is the schedule's choice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import indent

from tuner.core.integers import ceildiv
from tuner.core.workload import Workload
from tuner.schedules.attention.options import heads_of, masked, scale_of
from tuner.schedules.attention.tensorir import vectors
from tuner.schedules.attention.tensorir.vectors import Body, Sizes

LOG2_E = 1.4426950408889634


@dataclass(frozen=True)
class Rows:
    """Queries as rows of matrices: `heads` matrices of `rows` rows; `share` of them share keys and values.

    Query heads that share keys lie one after the other, so without a mask they are rows of one matrix. Under
    a mask what a row sees would begin anew with every head, so each is a matrix of its own.
    """

    heads: int
    rows: int
    share: int

    @classmethod
    def of(cls, workload: Workload) -> "Rows":
        """The rows of a workload."""
        b, h, q, kv_heads = workload["b"], workload["h"], workload["q"], heads_of(workload)
        group = h // kv_heads
        return cls(b * h, q, group) if masked(workload) else cls(b * kv_heads, group * q, 1)


def rounded(workload: Workload, lanes: int) -> int:
    """d, filled up to whole vectors."""
    return ceildiv(workload["d"], lanes) * lanes


def needs_copy(workload: Workload, lanes: int, along_head: bool) -> tuple[bool, bool]:
    """Whether keys, and values, cannot be read in place: pages, or vectors that would overrun a row."""
    paged, ragged = workload.option("paged", False), workload["d"] % lanes != 0
    return paged or (ragged and along_head), paged or ragged


class Program:
    """The blocks of a workload.

    Args:
        workload: any attention in f32.
        sizes: what the blocks are made of.
        panels: panels of a block of queries.
        parts: parts of the keys that are computed apart.
        copy_k, copy_v: whether keys and values are read from a copy.
    """

    def __init__(
        self, workload: Workload, sizes: Sizes, panels: int, parts: int, copy_k: bool, copy_v: bool
    ) -> None:
        self.workload, self.sizes = workload, sizes
        self.copy_k, self.copy_v, self.parts = copy_k, copy_v, parts
        self.matrix = Rows.of(workload)
        self.panels = ceildiv(ceildiv(self.matrix.rows, sizes.queries), panels) * panels
        self.kv, self.d = workload["kv"], workload["d"]
        self.blocks = ceildiv(ceildiv(self.kv, sizes.block), parts)  # of one part

    def source(self) -> str:
        """TVMScript of the module; its function is `main`."""
        m, s, w = self.matrix, self.sizes, self.workload
        cache_heads = m.heads // m.share
        cache: tuple[int, ...] = (cache_heads, self.kv, self.d)
        tensors = {"Q": (m.heads, m.rows, self.d), "K": cache, "V": cache, "O": (m.heads, m.rows, self.d)}
        table = ""
        if w.option("paged", False):
            page = int(w.option("page_size", 16))
            pages = ceildiv(self.kv, page)
            used = w["b"] * pages
            # The pool's pages are counted as the operator does: nothing reads beyond those of the table.
            pool = (used + used // 4 + 1, page, heads_of(w), self.d)
            tensors["K"] = tensors["V"] = pool
            table = f'block_table: T.Buffer(({w["b"]}, {pages}), "int32", align=4), '
        # NumPy aligns to 16 bytes and views to 4: no vector load may assume more.
        q, k, v, o = (f'{n}: T.Buffer({shape}, "float32", align=4)' for n, shape in tensors.items())
        blocks = self.parts * self.blocks
        buffers = {
            "packed_q": (m.heads, self.panels * s.query_panel),
            "packed_k": (cache_heads, blocks * s.key_panel),
            "packed_v": (cache_heads, blocks * s.block * s.width),
            "S": (m.heads, self.parts, self.panels, self.blocks * s.block * s.queries),
            "acc": (m.heads, self.parts, self.panels * s.queries * s.width),
            "top": (m.heads, self.parts, self.panels * s.queries),
            "total": (m.heads, self.parts, self.panels * s.queries),
        }
        absent = {name for name, used in (("packed_k", self.copy_k), ("packed_v", self.copy_v)) if not used}
        lines = [f"{n} = T.sblock_alloc_buffer({shape})" for n, shape in buffers.items() if n not in absent]
        lines.append(self._pack_q())
        lines += [self._copy_k()] if self.copy_k else []
        lines += [self._copy_v()] if self.copy_v else []
        lines += [self._score(), self._attend(), self._write()]
        return (
            "@I.ir_module\nclass Module:\n    @T.prim_func(s_tir=True)\n"
            + f"    def main({q}, {k}, {v}, {table}{o}):\n"
            + '        T.func_attr({"tirx.noalias": True})\n'
            + indent("\n".join(lines), " " * 8)
        )

    # --- where things are ---------------------------------------------------------------------------------

    @property
    def _whole(self) -> bool:
        """Whether panels hold nothing but rows."""
        return self.panels * self.sizes.queries == self.matrix.rows

    @property
    def _key_block(self) -> str:
        return f"(vp * {self.blocks} + vk)"

    @property
    def _seen(self) -> str:
        """Keys that some row of the panel sees: under a mask the last row sees the most."""
        s, q = self.sizes, self.matrix.rows
        if not masked(self.workload):
            return str(self.kv)
        return f"(T.min(vn * {s.queries} + {s.queries}, {q}) + {self.kv - q})"

    @property
    def _count(self) -> str:
        """Keys of the block that count for the panel; not positive where there is none."""
        block, whole = self.sizes.block, self.parts * self.blocks * self.sizes.block == self.kv
        if whole and not masked(self.workload):
            return str(block)
        return f"T.min({block}, {self._seen} - {self._key_block} * {block})"

    def _limit(self, row: str) -> str | None:
        """Keys that a row of the panel sees, `None` where that is all of every tile."""
        if masked(self.workload):
            return f"vn * {self.sizes.queries} + {row} + {self.kv - self.matrix.rows + 1}"
        return str(self.kv) if self.kv % self.sizes.key_step else None

    def _token(self, name: str, token: str, column: str, head: str) -> str:
        """An element of K or V; a token beyond the last is the last one, whose score will be hidden."""
        w = self.workload
        if not w.option("paged", False):
            return f"{name}[{head}, {token}, {column}]"
        page, heads = int(w.option("page_size", 16)), heads_of(w)
        entry = f"block_table[{head} // {heads}, ({token}) // {page}]"
        return f"{name}[{entry}, ({token}) % {page}, {head} % {heads}, {column}]"

    def _clamped(self, token: str) -> str:
        # A tile of keys may begin in the last block and end behind it.
        return token if self.kv % self.sizes.key_step == 0 else f"T.min({token}, {self.kv - 1})"

    # --- the blocks ---------------------------------------------------------------------------------------

    def _pack_q(self) -> str:
        s, rows, d = self.sizes, self.matrix.rows, self.d
        factor = f"T.float32({scale_of(self.workload) * LOG2_E!r})"
        row = f"vn * {s.queries} + i"
        inside = [] if self._whole else [f"{row} < {rows}"]
        columns = d
        if s.along_head:
            columns = s.width
            inside += [f"t < {d}"] if d != columns else []
        value = f"Q[vh, {row}, t] * {factor}"
        if inside:
            value = f"T.if_then_else({' and '.join(inside)}, {value}, T.float32(0))"
        body = f"for i, t in T.grid({s.queries}, {columns}):\n    {s.query('i', 't')} = {value}"
        return _block(
            "pack_q", {"h": (self.matrix.heads, "S"), "n": (self.panels, "S")},
            [f"Q[vh, 0:{rows}, 0:{d}]"],
            [_region("packed_q[vh, {}]", "vn", s.query_panel)],
            body,
        )  # fmt: skip

    def _copied(self, name: str) -> list[str]:
        """What a copy of a block of the cache reads."""
        w = self.workload
        if not w.option("paged", False):
            return [f"{name}[vh, 0:{self.kv}, 0:{self.d}]"]
        pages = w["b"] * ceildiv(self.kv, int(w.option("page_size", 16)))
        pages += pages // 4 + 1
        page, heads = int(w.option("page_size", 16)), heads_of(w)
        table = f"block_table[vh // {heads}, 0:{ceildiv(self.kv, page)}]"
        return [f"{name}[0:{pages}, 0:{page}, vh % {heads}, 0:{self.d}]", table]

    def _copy_k(self) -> str:
        s, begin = self.sizes, f"vb * {self.sizes.block}"
        if s.along_head:
            return self._copy_rows("copy_k", "K", "packed_k")
        token = f"T.min({begin} + tile * {s.keys} + i, {self.kv - 1})"
        to = f"packed_k[vh, {self._key('vb', 'tile', 'i', 't')}]"
        body = (
            f"if {begin} < {self.kv}:\n"
            f"    for tile in T.serial({s.block // s.keys}):\n"
            f"        for i in T.serial({s.keys}):\n"
            f"            for t in T.serial({self.d}):\n"
            f"                {to} = {self._token('K', token, 't', 'vh')}"
        )
        heads = self.matrix.heads // self.matrix.share
        return _block(
            "copy_k", {"h": (heads, "S"), "b": (self.parts * self.blocks, "S")}, self._copied("K"),
            [_region("packed_k[vh, {}]", "vb", s.key_panel)], body,
        )  # fmt: skip

    def _copy_v(self) -> str:
        return self._copy_rows("copy_v", "V", "packed_v")

    def _copy_rows(self, block: str, name: str, to: str) -> str:
        """Rows as they are, filled up with zeros to whole vectors; only those that are there."""
        s, begin = self.sizes, f"vb * {self.sizes.block}"
        source = self._token(name, f"T.min({begin} + j, {self.kv - 1})", "t", "vh")
        body = (
            f"if {begin} < {self.kv}:\n"
            f"    for j in T.serial({s.block}):\n"
            f"        for t in T.serial({self.d}):\n"
            f"            {to}[vh, {self._row('vb', 'j', 't')}] = {source}"
        )
        if s.width > self.d:
            body += (
                f"\n        for t in T.serial({s.width - self.d}):\n"
                f"            {to}[vh, {self._row('vb', 'j', f'{self.d} + t')}] = T.float32(0)"
            )
        heads = self.matrix.heads // self.matrix.share
        axes = {"h": (heads, "S"), "b": (self.parts * self.blocks, "S")}
        written = _region(f"{to}[vh, {{}}]", "vb", s.block * s.width)
        return _block(block, axes, self._copied(name), [written], body)

    def _row(self, block: str, key: str, column: str) -> str:
        """Where an element of a copied row lies."""
        s = self.sizes
        return f"{block} * {s.block * s.width} + ({key}) * {s.width} + {column}"

    def _key(self, block: str, tile: str, key: str, t: str) -> str:
        """Where an element of a copied tile of keys lies: step after step, as the product reads them."""
        s = self.sizes
        return f"{block} * {s.key_panel} + ({tile}) * {s.keys * s.d} + ({t}) * {s.keys} + {key}"

    def _axes(self, reduction: bool) -> dict[str, tuple[int, str]]:
        return {
            "h": (self.matrix.heads, "S"), "p": (self.parts, "S"), "n": (self.panels, "S"),
            "k": (self.blocks, "R" if reduction else "S"),
        }  # fmt: skip

    def _where_any(self, body: Body) -> Body:
        """Only where the block has keys that the panel sees."""
        if self._count == str(self.sizes.block):
            return body
        return Body(body.locals, f"if {self._count} > 0:\n{indent(body.text, '    ')}", body.init)

    def _cache_head(self) -> str:
        return "vh" if self.matrix.share == 1 else f"vh // {self.matrix.share}"

    def _score(self) -> str:
        s, head = self.sizes, self._cache_head()
        token = f"{self._key_block} * {s.block} + "

        def key(j: str, i: str, t: str) -> str:
            """The element `t` of key `i` of the tile that begins at key `j` of the block."""
            if not self.copy_k:
                return self._token("K", self._clamped(f"{token}{j} + {i}"), t, head)
            if s.along_head:
                return f"packed_k[{head}, {self._row(self._key_block, f'{j} + {i}', t)}]"
            return f"packed_k[{head}, {self._key(self._key_block, f'({j}) // {s.keys}', i, t)}]"

        def hidden(value: str, j: str, row: str) -> str:
            limit = self._limit(row)
            return value if limit is None else f"T.Select({token}{j} < {limit}, {value}, {vectors.HIDDEN})"

        body = vectors.score(s, self._count, key, hidden)
        keys = f"K[{head}, 0:{self.kv}, 0:{self.d}]"
        if self.copy_k:
            keys = _region(f"packed_k[{head}, {{}}]", self._key_block, s.key_panel)
        reads = [_region("packed_q[vh, {}]", "vn", s.query_panel), keys]
        return _block("score", self._axes(False), reads, [self._scores()], self._where_any(body))

    def _scores(self) -> str:
        return _region("S[vh, vp, vn, {}]", "vk", self.sizes.block * self.sizes.queries)

    def _state(self, part: str) -> list[str]:
        s = self.sizes
        sizes = {"acc": s.queries * s.width, "top": s.queries, "total": s.queries}
        return [_region(f"{name}[vh, {part}, {{}}]", "vn", size) for name, size in sizes.items()]

    def _attend(self) -> str:
        s, head = self.sizes, self._cache_head()

        def value(j: str, column: str) -> str:
            if self.copy_v:
                return f"packed_v[{head}, {self._row(self._key_block, j, column)}]"
            return self._token("V", f"{self._key_block} * {s.block} + {j}", column, head)

        def seen(row: str) -> str:
            return f"({self._limit(row)} - {self._key_block} * {s.block})"

        under_mask = seen if masked(self.workload) else None
        body = self._where_any(vectors.attend(s, self._count, value, under_mask))
        values = f"V[{head}, 0:{self.kv}, 0:{self.d}]"
        if self.copy_v:
            values = _region(f"packed_v[{head}, {{}}]", self._key_block, s.block * s.width)
        return _block("attend", self._axes(True), [self._scores(), values], self._state("vp"), body)

    def _write(self) -> str:
        s, rows = self.sizes, self.matrix.rows
        body = vectors.write(s, rows, self._whole, self.parts)
        reads = self._state(f"0:{self.parts}")
        axes = {"h": (self.matrix.heads, "S"), "n": (self.panels, "S")}
        first = f"vn * {s.queries}"
        return _block("write", axes, reads, [f"O[vh, {first}:{first} + {s.queries}, 0:{self.d}]"], body)


def _region(tensor: str, index: str, size: int) -> str:
    """Elements index * size ... + size - 1 of a tensor whose last dimension is left open as `{}`."""
    return tensor.format(f"{index} * {size}:{index} * {size} + {size}")


def _block(
    name: str, axes: Mapping[str, tuple[int, str]], reads: list[str], writes: list[str], body: Body | str
) -> str:
    """A block in a loop nest of its own; its variables are the loops' names behind a v."""
    body = body if isinstance(body, Body) else Body((), body)
    loops = ", ".join(axes)
    kinds = "".join(kind for _, kind in axes.values())
    lines = [
        f"{', '.join('v' + axis for axis in axes)} = T.axis.remap({kinds!r}, [{loops}])",
        f"T.reads({', '.join(reads)})",
        f"T.writes({', '.join(writes)})",
        *body.locals,
    ]
    if body.init:
        lines += ["with T.init():", indent(body.init, "    ")]
    lines.append(body.text)
    inner = indent("\n".join(lines), " " * 8)
    extents = ", ".join(str(extent) for extent, _ in axes.values())
    return f'for {loops} in T.grid({extents}):\n    with T.sblock("{name}"):\n{inner}'
