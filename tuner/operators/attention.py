"""Scaled dot-product attention: O = softmax(scale * Q K^T + mask) V, for prefill and decode."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from tuner.core.errors import InvalidWorkload
from tuner.core.excerpt import Excerpt, flat_indices
from tuner.core.numerics import STORAGE, U16, U32, UB16, near_spread
from tuner.core.operator import Operator, Tensors, TensorSpec
from tuner.core.special import NON_FINITE, largest, tiny
from tuner.core.workload import Option, Workload
from tuner.operators.attention_rows import Index, Rows

LEAST_HEAD, LARGEST_HEAD = 16, 256
LARGEST_PAGE = 1024
LEAST_SCALE, LARGEST_SCALE = 1 / 256, 4.0
_OFFSET = 100.0


class Attention(Operator):
    """Attention of `h` query heads over `kv_heads` heads of keys and values, in one of two memory layouts.

    O[b, h, i, :] = sum over j of p[j] * V[b, g, j, :] / sum over j of p[j], with
    p[j] = exp(scale * Q[b, h, i, :] . K[b, g, j, :]) for the keys j that query i sees. Each h/kv_heads
    neighbouring query heads share a head g of keys (grouped queries; kv_heads 1: multi-query).
    `scale` 0 means 1/sqrt(d), `kv_heads` 0 means h.

    `causal`: query i sees keys 0 ... i + kv - q. The mask is aligned at the bottom right, so the last query
    sees every key: the queries are the last q of kv tokens. q = 1 is a step of decoding, causal or not.

    Shapes: Q, O [b, h, q, d]; K, V [b, kv_heads, kv, d]. With `paged` K and V are pools of pages as vLLM
    keeps them (Kwon et al., Efficient memory management for large language model serving with PagedAttention,
    SOSP 2023): [pages, page_size, kv_heads, d], and token j of sequence b lies in page
    block_table[b, j // page_size] at place j % page_size; block_table is int32 [b, ceil(kv/page_size)]. The
    pool has pages that no sequence uses; all sequences of a batch are of one length.
    `frozen`: K and V are the same in every call, as in cross-attention or for many questions about a text; a
    kernel may lay them out ahead. Not with `paged`, which is a layout already.

    dtypes: `f32`; `f16` and `bf16`: all tensors are, scores, softmax and sums in f32, one rounding at the end
    (libraries also round p, as tensor cores want it, which the tolerance allows for).

    Special values: a key that a query does not see (by the mask, behind the last token of a page, in a page
    that no sequence uses) and its value do not exist for the query, whatever they hold. Of what it sees,
    every step of the formula is one of IEEE 754, with the largest logit subtracted before the exponential: a
    NaN or +inf among the logits makes the query's whole row of O NaN; a logit of -inf is a p of 0, which
    times an infinite or NaN value is a NaN, as it is where p is too small for f32. The softmax of finite
    logits is finite, however negative they are (to 1e38 in size: kernels multiply them by log2(e)); a query
    whose logits are all -inf gets NaN, as in NumPy, ONNX and JAX. An f32 sum that overflows on its way is
    infinite or NaN though the result might be finite.
    """

    name = "attention"
    summary = "softmax(scale * Q K^T + mask) V: causal, grouped heads, decode, paged KV cache"
    dtypes = ("f32", "f16", "bf16")
    dims = ("b", "h", "q", "kv", "d")
    tensors = ("Q", "K", "V", "block_table", "O")
    options: ClassVar[dict[str, Option]] = {
        "causal": False, "kv_heads": 0, "scale": 0.0, "paged": False, "page_size": 16, "frozen": False,
    }  # fmt: skip
    weights = ("K", "V")
    example = "1x12x512x512x64"
    untold: ClassVar[Mapping[str, tuple[Option, ...]]] = {"causal": (False, True)}

    def workload(self, dtype: str = "f32", **values: Any) -> Workload:
        """As `Operator.workload`; as many `kv_heads` as heads is the default, so it is left out."""
        heads = values.get("h")
        if type(heads) is int and values.get("kv_heads") == heads:
            values = {**values, "kv_heads": 0}
        return super().workload(dtype, **values)

    def validate(self, workload: Workload) -> None:
        """Heads divide, every query sees a key, pages are there where they are asked for."""
        h, q, kv, d = (workload[name] for name in ("h", "q", "kv", "d"))
        if not LEAST_HEAD <= d <= LARGEST_HEAD:
            raise InvalidWorkload(f"attention: head dimension d is {LEAST_HEAD} to {LARGEST_HEAD}, not {d}")
        heads = workload.option("kv_heads", 0) or h
        if heads < 1 or h % heads:
            raise InvalidWorkload(f"attention: kv_heads {heads} do not divide the {h} query heads h")
        if workload.option("causal", False) and q > kv:
            raise InvalidWorkload(
                f"attention: causal with q {q} > kv {kv} leaves the first {q - kv} queries without a key: "
                "take q up to kv"
            )
        if workload.option("frozen", False) and workload.option("paged", False):
            raise InvalidWorkload("attention: frozen keys and values lie in one piece: leave out paged")
        page = workload.option("page_size", 16)
        if not 1 <= page <= LARGEST_PAGE:
            raise InvalidWorkload(f"attention: page_size is 1 to {LARGEST_PAGE} tokens, not {page}")
        if page != 16 and not workload.option("paged", False):
            raise InvalidWorkload(f"attention: page_size {page} is for a paged cache: add paged")
        scale = workload.option("scale", 0.0)
        # Far beyond 1/sqrt(d) in either direction inputs that give scores of a useful size do not fit f16.
        if scale != 0 and not LEAST_SCALE <= scale <= LARGEST_SCALE:
            raise InvalidWorkload(
                f"attention: scale is {LEAST_SCALE:g} to {LARGEST_SCALE:g}, or 0 for 1/sqrt(d), not {scale}"
            )

    @staticmethod
    def kv_heads(workload: Workload) -> int:
        """Heads of keys and values."""
        return int(workload.option("kv_heads", 0)) or workload["h"]

    @staticmethod
    def scale(workload: Workload) -> float:
        """The factor of the scores."""
        return float(workload.option("scale", 0.0)) or 1 / math.sqrt(workload["d"])

    def _blocks(self, workload: Workload) -> tuple[int, int]:
        """Pages of one sequence, and of the pool: a quarter more, one at least."""
        blocks = -(-workload["kv"] // int(workload.option("page_size", 16)))
        used = workload["b"] * blocks
        return blocks, used + used // 4 + 1

    def derived(self, workload: Workload) -> Mapping[str, int]:
        """Heads `kv_h` of keys and values (`kv_heads`, or h where that is 0); `group_h` query heads that use
        one of them; `rows` = group_h * q queries of these; `pages` of a sequence of a paged cache, and
        `pool_pages` of the whole pool."""
        heads = self.kv_heads(workload)
        group = workload["h"] // heads
        pages, pool = self._blocks(workload)
        return {
            "kv_h": heads,
            "group_h": group,
            "rows": group * workload["q"],
            "pages": pages,
            "pool_pages": pool,
        }

    def signature(self, workload: Workload) -> tuple[TensorSpec, ...]:
        """Q, K, V, block_table (if paged), O."""
        b, h, q, kv, d = (size for _, size in workload)
        dtype, heads = STORAGE[workload.dtype][0], self.kv_heads(workload)
        cache: tuple[int, ...] = (b, heads, kv, d)
        table: tuple[TensorSpec, ...] = ()
        if workload.option("paged", False):
            blocks, pages = self._blocks(workload)
            cache = (pages, int(workload.option("page_size", 16)), heads, d)
            table = (TensorSpec("block_table", (b, blocks), "int32"),)
        return (
            TensorSpec("Q", (b, h, q, d), dtype),
            TensorSpec("K", cache, dtype),
            TensorSpec("V", cache, dtype),
            *table,
            TensorSpec("O", (b, h, q, d), dtype, output=True),
        )

    def inputs(self, workload: Workload, seed: int) -> Tensors:
        """K and V uniform on [-1, 1), Q so that scores have a standard deviation of 1; pages in random order.

        With Q uniform on [-a, a) a score's variance is scale^2 * d * a^2/3 * 1/3, so a = 3/(scale*sqrt(d)).
        A softmax that does not subtract the maximum, or does so wrongly, must not pass: element 0 of every
        key lies in 1 +- 1/64, and a quarter of the queries have +-100/scale there, which moves all scores
        of such a query to +-(100 +- 3): exp overflows f32 at 88.7 and is 0 below -103.
        """
        rng = np.random.default_rng(seed)
        tensors: Tensors = {}
        scale = self.scale(workload)
        for spec in self.signature(workload):
            if spec.output:
                continue
            if spec.name == "block_table":
                pages = self._blocks(workload)[1]
                chosen = rng.permutation(pages)[: math.prod(spec.shape)]
                tensors[spec.name] = chosen.reshape(spec.shape).astype(np.int32)
                continue
            values = rng.random(spec.shape, dtype=np.float32) * np.float32(2) - np.float32(1)
            if spec.name == "K":
                values[..., 0] = 1 + values[..., 0] / 64
            elif spec.name == "Q":
                values *= np.float32(3 / (scale * math.sqrt(workload["d"])))
                kind = rng.integers(0, 8, spec.shape[:-1])  # 0: far up, 1: far down
                values[..., 0] = np.where(kind < 2, (1 - 2 * kind) * _OFFSET / scale, values[..., 0])
            tensors[spec.name] = values.astype(spec.dtype, copy=False)
        return tensors

    def special_inputs(self, workload: Workload, seed: int) -> Tensors:
        """Special values in a few queries, keys and values; NaN wherever no query may look.

        - Queries: NaN, an infinity, and logits of all keys at +-1e37 (f16: +-1600), far below any -1e30
          that might stand for "hidden", in a quarter of them at most. At that size rounding alone would
          decide between keys of nearly equal logits: what is demanded then, `tolerance` says.
        - Values: NaN, +inf and -inf of five keys, the last one among them, each in a column of its own. A
          query that sees the key has it in this column, all others have none.
        - Keys: NaN in the last one under a mask that hides it from all queries but the last. Else in the last
          head's, where it is not the only one. Zeros and denormals anywhere.
        - Paged: the rest of a sequence's last page, and all pages that no sequence uses.
        """
        tensors = self.inputs(workload, seed)
        rng = np.random.default_rng((seed, 1))
        q, kv, d, heads = workload["q"], workload["kv"], workload["d"], self.kv_heads(workload)
        keys, rows = tensors["K"], tensors["Q"].reshape(-1, d)
        dtype = str(rows.dtype)
        # Keys' logits then differ by 3e35, or by 50 at most, so no p is above 0 in f64 and 0 in f32.
        far = (1600 if workload.dtype == "f16" else 1e37) / self.scale(workload)
        far = min(far, largest(dtype) / 2)  # times a key it does not overflow
        marks = [(0, -far), (0, far), (d - 1, np.nan), (d // 2, np.inf), *((2, t) for t in tiny(dtype))]
        for row, (column, value) in zip(rng.permutation(len(rows))[: len(rows) // 4], marks, strict=False):
            rows[row, column] = value
        # Keys' element 0 is near 1 and has to stay so.
        keys[..., d // 2] = np.where(rng.random(keys.shape[:-1]) < 1 / 16, -0.0, keys[..., d // 2])
        if "block_table" in tensors:
            self._spoil_pages(workload, tensors)
        columns = rng.permutation(d)
        for number, token in enumerate([kv - 1, *rng.integers(0, kv, 4)]):
            for kind, value in enumerate(NON_FINITE):
                for b in range(workload["b"]):
                    self._token(tensors, "V", b, int(rng.integers(heads)), int(token))[
                        columns[3 * number + kind]
                    ] = value
        if workload.option("causal", False) and q > 1:
            for b in range(workload["b"]):
                self._token(tensors, "K", b, int(rng.integers(heads)), kv - 1)[d - 1] = np.nan
        elif workload["b"] * heads > 1:
            self._token(tensors, "K", workload["b"] - 1, heads - 1, int(rng.integers(kv)))[d - 1] = np.nan
        return tensors

    def _token(self, tensors: Tensors, name: str, b: int, head: int, token: int) -> np.ndarray:
        """A view of one key or value, [d]."""
        cache = tensors[name]
        if "block_table" not in tensors:
            row: np.ndarray = cache[b, head, token]
            return row
        page, place = divmod(token, cache.shape[1])
        row = cache[tensors["block_table"][b, page], place, head]
        return row

    def _spoil_pages(self, workload: Workload, tensors: Tensors) -> None:
        """NaN in all that lies in the pools and is no token of a sequence."""
        table = tensors["block_table"]
        for name in ("K", "V"):
            pool = tensors[name]
            used = np.zeros(pool.shape[:2], bool)
            used[table] = True
            behind = workload["kv"] % pool.shape[1]
            if behind:
                used[table[:, -1], behind:] = False
            pool[~used] = np.nan

    def _cache(self, workload: Workload, inputs: Tensors, name: str) -> np.ndarray:
        """K or V as [b, kv_heads, kv, d] in float64, out of its pages where it lies in pages."""
        values = inputs[name]
        if "block_table" in inputs:
            b, kv, d, heads = workload["b"], workload["kv"], workload["d"], self.kv_heads(workload)
            values = values[inputs["block_table"]].reshape(b, -1, heads, d)[:, :kv].swapaxes(1, 2)
        return values.astype(np.float64)

    def _rows(self, workload: Workload, inputs: Tensors) -> Rows:
        """The queries, keys and values."""
        keys, values = (self._cache(workload, inputs, name) for name in ("K", "V"))
        causal = bool(workload.option("causal", False))
        return Rows(inputs["Q"], keys, values, self.scale(workload), causal)

    def reference(self, workload: Workload, inputs: Tensors) -> Tensors:
        """The definition in float64; the largest logit of a row is subtracted before the exponential.

        Values that are not finite are added apart, to the queries that see them: in a product of matrices
        they would meet the p of 0 of the others too.
        """
        result = np.empty(inputs["Q"].shape)

        def summed(index: Index, _: np.ndarray, p: np.ndarray, values: np.ndarray) -> None:
            finite = np.isfinite(values)
            out = p @ np.where(finite, values, 0.0)
            rows = index[2]
            for j, column in np.argwhere(~finite):
                first = self._first_query(workload, int(j)) - rows.start
                with np.errstate(invalid="ignore"):
                    seeing = slice(max(0, first), None)
                    out[seeing, column] += p[seeing, j] * values[j, column]
            result[index] = out

        self._rows(workload, inputs).each(summed)
        return {"O": result}

    @staticmethod
    def _first_query(workload: Workload, key: int) -> int:
        """The first query that sees a key."""
        return max(0, key - (workload["kv"] - workload["q"])) if workload.option("causal", False) else 0

    def tolerance(self, workload: Workload, inputs: Tensors, reference: Tensors) -> Tensors:
        """8 standard deviations of the rounding errors of scores and sums, and what exp itself may err.

        The model of rounding errors is that of `numerics.sum_tolerance` (Higham and Mary 2019): each is
        independent, of mean 0 and at most u times the partial sum it rounds. For a query with probabilities
        p and scores of at most S in size, r = sqrt(sum of p^2), and w = 1/sqrt(3) + |o| bounds the root mean
        square of v - o, values v having a standard deviation of 1/sqrt(3):

        - A score's d partial sums are at most S + 1 (they may cancel; 1 is their standard deviation): an
          error of u*(S + 1)*sqrt(d). Rounding scaled inputs, scaling, subtracting the maximum: u*(S + 1)*3.
          An error e of the score of key j moves the output by p_j*e*(v_j - o); over all keys, independent,
          by e*r*w.
        - The sum over kv products p*v, of values of standard deviation 1/sqrt(3): u*sqrt(kv/3)*r. The sum
          of kv probabilities, which grows straight: a share of u*sqrt(kv/3) of the output.
        - exp may err by 8u, all its errors alike, also where partial results are rescaled: 8u*(1 + |o|), as
          |v - o| <= 1 + |o|. A vector exp of three roundings and a polynomial of degree 5 errs by 3u.
        - f16 and bf16: u is doubled, since tensor cores truncate; each p may be rounded to 11 bits (8), an
          error of uniform distribution: 2^-11/sqrt(3)*r*w; and the result is, twice in some libraries.

        f32, 512 keys, d = 64, a query that was not moved: S = 3.5, r = 0.07, so the tolerance is 2.5e-6; a
        key left out moves the output by 1e-3, one of the 64 products of every score by 5e-3. It is the same
        for all kernels.

        Special inputs have logits of up to 1e37, whose errors e of all together are above 1/8: any keys whose
        logits are within 2e + 100 of the largest may share the output, so it is as wide as their values lie.
        """
        d, kv = workload["d"], workload["kv"]
        u = U32 if workload.dtype == "f32" else 2 * U32
        size = np.abs(reference["O"])
        tolerance = np.empty(size.shape)

        def allow(index: Index, scores: np.ndarray, p: np.ndarray, values: np.ndarray) -> None:
            with np.errstate(invalid="ignore"):
                # What masks hide and what is special has no size.
                reach = np.where(np.isfinite(scores), np.abs(scores), 0.0).max(axis=1, keepdims=True)
                r = np.sqrt((p * p).sum(axis=1, keepdims=True))
                spread = r * (1 / math.sqrt(3) + size[index])
                error = (reach + 1) * (math.sqrt(d) + 3)
                moved = 8 * u * error * spread
                for row in np.flatnonzero(8 * u * error > 0.125):
                    moved[row] = near_spread(scores[row], 16 * u * error[row] + 100, values)
                sums = math.sqrt(kv / 3) * (r + size[index])
                allowed = moved + 8 * u * (sums + 1 + size[index])
                if narrow := {"f16": U16, "bf16": UB16}.get(workload.dtype):
                    # 2^-25 is half the spacing of f16 numbers around 0.
                    allowed = allowed + narrow * (8 / math.sqrt(3) * spread + 2 * size[index]) + 2.0**-25
            tolerance[index] = allowed

        self._rows(workload, inputs).each(allow)
        return {"O": tolerance}

    def flops(self, workload: Workload) -> int:
        """4*d for each query and key it sees: two products of d multiply-adds; the softmax is not counted.

        As Dao et al. (FlashAttention-2, 2023, section 4.1) count, but for a causal mask exactly.
        """
        q, kv = workload["q"], workload["kv"]
        pairs = q * kv - (q * (q - 1) // 2 if workload.option("causal", False) else 0)
        return 4 * workload["b"] * workload["h"] * workload["d"] * pairs

    def min_bytes(self, workload: Workload) -> int:
        """All tensors once; of a paged cache the tokens, not the rest of the pool."""
        if not workload.option("paged", False):
            return self.memory_bytes(workload)
        tokens = workload["b"] * workload["kv"] * self.kv_heads(workload) * workload["d"]
        others = sum(spec.nbytes for spec in self.signature(workload) if spec.name not in ("K", "V"))
        return others + 2 * tokens * workload.element_bytes

    def dims_of(
        self, shapes: Sequence[tuple[int, ...]], options: Mapping[str, Option]
    ) -> Mapping[str, int] | None:
        """Of Q and K, where keys are not paged."""
        if len(shapes) < 3 or {len(shapes[0]), len(shapes[1])} != {4}:
            return None
        (b, h, q, d), (_, kv_heads, kv, _) = shapes[:2]
        return {"b": b, "h": h, "q": q, "kv": kv, "d": d, "kv_heads": kv_heads}

    def companions(self, workload: Workload) -> tuple[Workload, ...]:
        """The smallest attention, ragged lengths and head dimensions, decode, more queries than a tile."""
        options = dict(workload.options)
        heads = int(workload.option("kv_heads", 0))
        found = []
        for b, h, q, kv, d in ((1, 2, 1, 1, 16), (2, 3, 37, 53, 40), (1, 2, 1, 261, 67), (1, 2, 70, 131, 24)):
            dims = {"b": b, "h": heads * h if heads else h, "q": q, "kv": kv, "d": d}
            found.append(self.workload(workload.dtype, **options, **dims))
        return tuple(found)

    def excerpt(self, workload: Workload, inputs: Tensors, rng: np.random.Generator) -> Excerpt:
        """One random query of one head: a step of decoding over the keys that it sees."""
        b, h, q, kv, d = (size for _, size in workload)
        batch, head, query = int(rng.integers(b)), int(rng.integers(h)), int(rng.integers(q))
        group = head // (h // self.kv_heads(workload))
        seen = query + kv - q + 1 if workload.option("causal", False) else kv
        part = self.workload(workload.dtype, b=1, h=1, q=1, kv=seen, d=d, scale=workload.option("scale", 0.0))
        signature = {spec.name: spec.shape for spec in self.signature(workload)}
        asked = flat_indices(signature["Q"], batch, head, query, slice(None))
        # Flat indices of the keys (and values) that the query sees, in their order.
        cache = flat_indices((b, self.kv_heads(workload), kv, d), batch, group, np.arange(seen), slice(None))
        if "block_table" in inputs:
            page, place = int(workload.option("page_size", 16)), np.arange(seen)[:, None]
            index = (inputs["block_table"][batch][place // page], place % page, group, np.arange(d)[None, :])
            cache = np.ravel_multi_index(np.broadcast_arrays(*index), signature["K"]).reshape(-1)

        def gather(whole: Tensors) -> Tensors:
            own = {name: whole[name].reshape(-1)[cache].reshape(1, 1, seen, d) for name in ("K", "V")}
            return {"Q": whole["Q"].reshape(-1)[asked].reshape(1, 1, 1, d), **own}

        return Excerpt(part, gather, {"O": asked}, {"Q": asked, "K": cache, "V": cache})
