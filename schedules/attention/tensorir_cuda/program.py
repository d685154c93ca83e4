"""The TensorIR attention for CUDA: one kernel, its threads bound by hand, as TVMScript.

A block has BM rows (queries) of one matrix (see `Rows`) and goes over tiles of BN keys. Its threads are a
grid of BM / TM by TX: a thread computes TM rows of the scores of every TX-th key, and TM rows of every TX-th
column of the output, so that neighbours read neighbours in shared memory. Scores become weights by the
running softmax (Milakov and Gimelshein, 2018), pass through shared memory, and weigh the values.

TVM inserts the barriers. Nothing here imports TVM until a module is made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from textwrap import indent
from typing import Any

from tuner.core.integers import ceildiv
from tuner.schedules.scheduled import Choices

_NARROW = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}
_LOWEST = "T.float32('-inf')"


@dataclass(frozen=True)
class Program(Choices):
    """A workload and a configuration, as plain values.

    Attributes:
        sizes: `heads`, `rows` (of a matrix of queries), `share` (matrices that share keys), `kv_heads`, `kv`,
            `d`, `pages` and `page` (tokens; 0 where keys do not lie in pages), `masked`, `factor` (of a
            score times log2(e)), `dtype`, `batch`.
        config: BM, BN, TX, TM, VECTOR, UNROLL, PAD.
    """

    @cached_property
    def tiles(self) -> int:
        """Tiles of rows of one matrix."""
        return ceildiv(self.rows, self.BM)

    @cached_property
    def threads(self) -> int:
        """Of a block."""
        return int(self.TX * self.BM // self.TM)

    @cached_property
    def columns(self) -> int:
        """Of the output, a thread."""
        return ceildiv(self.d, self.TX)

    @cached_property
    def width(self) -> int:
        """Columns of a tile of values in shared memory: whole vectors, and TX times `columns`."""
        return ceildiv(self.columns * self.TX, self.VECTOR) * int(self.VECTOR)

    @property
    def _keys(self) -> int:
        return int(self.BN // self.TX)

    # --- where things are -----------------------------------------------------------------------------------

    _matrix = property(lambda self: f"(block // {self.tiles})")
    _first = property(lambda self: f"(block % {self.tiles} * {self.BM})")
    _down = property(lambda self: f"(thread // {self.TX} * {self.TM})")
    _across = property(lambda self: f"(thread % {self.TX})")

    def _query(self, row: str, column: str) -> str:
        return f"({self._matrix} * {self.rows} + {self._first} + {row}) * {self.d} + {column}"

    def _cached(self, token: str, column: str) -> str:
        """Where an element of K or V lies."""
        head = f"({self._matrix} // {self.share})"
        if not self.page:
            return f"({head} * {self.kv} + {token}) * {self.d} + {column}"
        entry = f"block_table[{head} // {self.kv_heads} * {self.pages} + ({token}) // {self.page}]"
        place = (
            f"({entry} * {self.page} + ({token}) % {self.page}) * {self.kv_heads} + {head} % {self.kv_heads}"
        )
        return f"({place}) * {self.d} + {column}"

    def _limit(self, row: str) -> str:
        """Keys that a row sees under the mask."""
        return f"{self._first} + {row} + {self.kv - self.rows + 1}"

    # --- pieces of the kernel -------------------------------------------------------------------------------

    def _fetch(self, name: str, to: str, rows: int, width: int, place: str, inside: str) -> str:
        """Brings rows of a tensor into shared memory: vectors into registers, then element by element.

        Args:
            name: of the tensor.
            to: where element `e` of the vector goes, by `row` and `column`.
            rows, width: of the tile; width a multiple of VECTOR.
            place: where the vector lies, by `row` and `column`.
            inside: whether it is there; else it is zero.
        """
        vector, narrow = self.VECTOR, _NARROW[self.dtype]
        pieces, lane = rows * width // vector, f"(step * {self.threads} + thread)"
        row, column = f"({lane} // {width // vector})", f"({lane} % {width // vector} * {vector})"
        place, inside, to = (t.replace("ROW", row).replace("COLUMN", column) for t in (place, inside, to))
        body = f"""\
if {inside}:
    for e in T.vectorized({vector}):
        piece[e] = {name}[{place} + e]
else:
    for e in T.vectorized({vector}):
        piece[e] = T.{narrow}(0)
for e in T.unroll({vector}):
    {to} = piece[e]"""
        if pieces % self.threads:
            body = f"if {lane} < {pieces}:\n{indent(body, '    ')}"
        return f"for step in T.serial({ceildiv(pieces, self.threads)}):\n{indent(body, '    ')}"

    def _scores(self) -> str:
        row, key = f"({self._down} + i)", f"(j * {self.TX} + {self._across})"
        return f"""\
for i, j in T.grid({self.TM}, {self._keys}):
    score[i * {self._keys} + j] = T.float32(0)
for far in T.serial({self.d // self.UNROLL}):
    for near in T.unroll({self.UNROLL}):
        for i in T.unroll({self.TM}):
            left[i] = T.Cast("float32", q_tile[{row}, far * {self.UNROLL} + near])
        for j in T.unroll({self._keys}):
            right[j] = T.Cast("float32", k_tile[far * {self.UNROLL} + near, {key}])
        for i in T.unroll({self.TM}):
            for j in T.unroll({self._keys}):
                score[i * {self._keys} + j] = score[i * {self._keys} + j] + left[i] * right[j]"""

    def _hide(self, masked: bool) -> str:
        """Scores of keys that are not there, or that a row does not see, become -inf."""
        token = f"start + j * {self.TX} + {self._across}"
        seen = f"{token} < {self.kv}"
        if masked:
            seen += f" and {token} < {self._limit(f'{self._down} + i')}"
        return f"""\
for i in T.unroll({self.TM}):
    for j in T.unroll({self._keys}):
        score[i * {self._keys} + j] = T.Select(
            {seen}, score[i * {self._keys} + j], {_LOWEST})"""

    def _softmax(self) -> str:
        # Scores are scaled after the largest is subtracted: 0 for that one, however large it is.
        place = f"i * {self._keys} + j"
        return f"""\
for i in T.unroll({self.TM}):
    higher[i] = {_LOWEST}
    for j in T.unroll({self._keys}):
        higher[i] = T.max(higher[i], score[{place}])
    highest[{self._down} + i, {self._across}] = higher[i]
for i in T.unroll({self.TM}):
    higher[i] = top[i]
    for j in T.serial({self.TX}):
        higher[i] = T.max(higher[i], highest[{self._down} + i, j])
    base[i] = T.Select(higher[i] == {_LOWEST}, T.float32(0), higher[i])
    shrink[i] = T.exp2((top[i] - base[i]) * T.float32({self.factor!r}))
    top[i] = higher[i]
    norm[i] = norm[i] * shrink[i]
    for j in T.unroll({self._keys}):
        weight[{self._down} + i, j * {self.TX} + {self._across}] = T.exp2(
            (score[{place}] - base[i]) * T.float32({self.factor!r}))
    for c in T.unroll({self.columns}):
        total[i * {self.columns} + c] = total[i * {self.columns} + c] * shrink[i]"""

    def _attend(self, masked: bool) -> str:
        key, place = f"(far * {self.UNROLL} + near)", f"i * {self.columns} + c"
        product = "left[i] * value[c]"
        if masked:
            # Selected, not multiplied by a weight of 0: 0 times a NaN is a NaN.
            seen = f"start + {key} < {self._limit(f'{self._down} + i')}"
            product = f"T.Select({seen}, {product}, T.float32(0))"
        return f"""\
for far in T.serial({self.BN // self.UNROLL}):
    for near in T.unroll({self.UNROLL}):
        for i in T.unroll({self.TM}):
            left[i] = weight[{self._down} + i, {key}]
            norm[i] = norm[i] + left[i]
        for c in T.unroll({self.columns}):
            value[c] = T.Cast("float32", v_tile[{key}, c * {self.TX} + {self._across}])
        for i in T.unroll({self.TM}):
            for c in T.unroll({self.columns}):
                total[{place}] = total[{place}] + {product}"""

    def _tile(self, begin: str, count: str, hide: bool, masked: bool) -> str:
        """A loop over tiles of keys, from tile `begin` on."""
        token = "start + ROW"
        inside = f"{token} < {self.kv}"
        deep = ceildiv(self.d, self.VECTOR) * self.VECTOR
        parts = [
            self._fetch("K", "k_tile[COLUMN + e, ROW]", self.BN, deep, self._cached(token, "COLUMN"), inside),
            self._fetch(
                "V", "v_tile[ROW, COLUMN + e]", self.BN, self.width, self._cached(token, "COLUMN"),
                f"{inside} and COLUMN < {self.d}",
            ),
            self._scores(), *([self._hide(masked)] if hide else []), self._softmax(), self._attend(masked),
        ]  # fmt: skip
        body = "\n".join(parts).replace("start", f"(({begin} + number) * {self.BN})")
        return f"for number in T.serial({count}):\n{indent(body, '    ')}"

    def _loops(self) -> list[str]:
        """Tiles that every row sees whole, then those that need a mask or are not full."""
        whole, all_tiles = self.kv // self.BN, ceildiv(self.kv, self.BN)
        if not self.masked:
            loops = [self._tile("0", str(whole), False, False)] if whole else []
            return loops + ([self._tile(str(whole), "1", True, False)] if whole < all_tiles else [])
        clear = f"(T.min({self._limit('0')}, {self.kv}) // {self.BN})"
        end = f"T.min(({self._limit(str(self.BM - 1))} + {self.BN - 1}) // {self.BN}, {all_tiles})"
        return [
            self._tile("0", clear, False, False),
            self._tile(clear, f"T.max({end} - {clear}, 0)", True, True),
        ]

    @cached_property
    def script(self) -> str:
        """The kernel, as TVMScript."""
        narrow = _NARROW[self.dtype]
        queries = self.heads * self.rows * self.d
        cache = self.heads // self.share * self.kv * self.d
        if self.page:
            used = self.batch * self.pages
            cache = (used + used // 4 + 1) * self.page * self.kv_heads * self.d
        tensors = {"Q": (queries, narrow), "K": (cache, narrow), "V": (cache, narrow)}
        if self.page:
            tensors["block_table"] = (self.batch * self.pages, "int32")
        tensors["O"] = (queries, narrow)
        arguments = ", ".join(f'{n}: T.Buffer(({size},), "{kind}")' for n, (size, kind) in tensors.items())
        deep = ceildiv(self.d, self.VECTOR) * self.VECTOR
        shared = {
            "q_tile": (f"{self.BM}, {deep + self.PAD}", narrow),
            "k_tile": (f"{deep}, {self.BN + self.PAD}", narrow),
            "v_tile": (f"{self.BN}, {self.width}", narrow),
            "weight": (f"{self.BM}, {self.BN + self.PAD}", "float32"),
            "highest": (f"{self.BM}, {self.TX}", "float32"),
        }
        local = {
            "score": self.TM * self._keys, "right": self._keys, "value": self.columns,
            "total": self.TM * self.columns,
            **dict.fromkeys(("left", "top", "norm", "higher", "base", "shrink"), self.TM),
        }  # fmt: skip
        lines = [f'{n} = T.sblock_alloc_buffer(({s}), "{t}", scope="shared")' for n, (s, t) in shared.items()]
        local_types = {"piece": narrow, **dict.fromkeys(local, "float32")}
        for name, kind in local_types.items():
            size = local.get(name, self.VECTOR)
            lines.append(f'{name} = T.sblock_alloc_buffer(({size},), "{kind}", scope="local")')
        inside = f"{self._first} + ROW < {self.rows}"
        body = [
            f"""\
for i in T.unroll({self.TM}):
    top[i] = {_LOWEST}
    norm[i] = T.float32(0)
    for c in T.unroll({self.columns}):
        total[i * {self.columns} + c] = T.float32(0)""",
            self._fetch("Q", "q_tile[ROW, COLUMN + e]", self.BM, deep, self._query("ROW", "COLUMN"), inside),
            *self._loops(),
            self._store(),
        ]
        newline = "\n        "
        return f"""
@I.ir_module
class Module:
    @T.prim_func(s_tir=True)
    def main({arguments}):
        T.func_attr({{"global_symbol": "main", "tirx.noalias": True}})
        {newline.join(lines)}
        for block in T.thread_binding({self.heads * self.tiles}, thread="blockIdx.x"):
            for thread in T.thread_binding({self.threads}, thread="threadIdx.x"):
{indent(chr(10).join(body), " " * 16)}
"""

    def _store(self) -> str:
        row, column = f"{self._down} + i", f"c * {self.TX} + {self._across}"
        value = f"total[i * {self.columns} + c] / norm[i]"
        return f"""\
for i in T.unroll({self.TM}):
    for c in T.unroll({self.columns}):
        if {self._first} + {row} < {self.rows} and {column} < {self.d}:
            O[{self._query(row, column)}] = T.Cast("{_NARROW[self.dtype]}", {value})"""


def module(options: Mapping[str, Any]) -> Any:
    """The module (`tvm.IRModule`) of `sizes` and `config`: what the builder calls."""
    import tvm.script.parser  # noqa: F401 (it registers the dialect)
    from tvm.script import from_source

    return from_source(Program(options["sizes"], options["config"]).script)
