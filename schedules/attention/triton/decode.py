"""Triton attention for few queries: decoding steps, split over the keys, contiguous or paged."""

from tuner.core.integers import ceildiv
from tuner.core.kernel import Source
from tuner.core.space import Config, Constraint, Parameter, SearchSpace
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.schedules.attention.options import heads_of
from tuner.schedules.attention.triton.kernel import TritonAttention, block_d

_MOST_ROWS = 1024


class TritonDecode(TritonAttention):
    """A program for each part of the keys of each head of keys, for all queries that share it.

    The parts' sums meet in device memory; the last part to arrive combines them, in the same launch.
    """

    name = "attn_triton_decode"
    summary = "Triton: few queries, split over keys and combined in one launch; grouped heads, paged cache."

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        """Also so many queries that splitting their keys is of no use."""
        reason = super().unsupported(workload, target)
        rows = workload["q"] * (workload["h"] // heads_of(workload))
        many = f"{rows} queries share a head of keys, at most {_MOST_ROWS}: it is for decoding"
        return reason or (many if rows > _MOST_ROWS else None)

    def space(self, workload: Workload, target: Target) -> SearchSpace:
        """Tiles, parts of the keys, warps, stages; for f32 also how products are formed."""
        parameters, constraints = self.tile_space(workload, target)
        parameters.insert(0, Parameter("BLOCK_M", (1, 2, 4, 16, 32, 64, 128), "queries a program"))
        parameters.insert(2, Parameter("SPLIT_KV", (1, 2, 4, 8, 16, 32, 64), "parts of the keys"))
        constraints += [
            Constraint("queries_used", "BLOCK_M < 2 * rows or BLOCK_M == 16"),
            # Below 16 rows the products of a tile are there all at once before they are added up.
            Constraint(
                "products_fit", "BLOCK_M >= 16 or BLOCK_M * BLOCK_N * block_d <= 128 * 32 * num_warps"
            ),
            Constraint("parts_have_keys", "SPLIT_KV == 1 or SPLIT_KV * BLOCK_N <= kv"),
            Constraint(
                "workspace_fits",
                "SPLIT_KV == 1 or cache_heads * SPLIT_KV * rows * (block_d + 2) * 4 <= 2 ** 30",
            ),
        ]
        return SearchSpace(parameters, constraints, self.tile_constants(workload, target))

    def _programs(self, workload: Workload, config: Config) -> tuple[int, int, int, int]:
        """Rows that share a head of keys, their tiles, parts of the keys, heads of keys of all sequences."""
        heads = heads_of(workload)
        rows = workload["q"] * (workload["h"] // heads)
        return rows, ceildiv(rows, int(config["BLOCK_M"])), int(config["SPLIT_KV"]), workload["b"] * heads

    def lower(self, workload: Workload, config: Config, target: Target) -> Source:
        """The name of the function, its constants, and its signature."""
        rows, tiles, parts, heads = self._programs(workload, config)
        keys = int(config["BLOCK_N"])
        constants = {"SPLIT_KV": parts, "SHARE": ceildiv(ceildiv(workload["kv"], parts), keys) * keys}
        there = parts > 1
        workspace = {
            "sums": ("*fp32", there * heads * parts * rows * block_d(workload) * 4),
            "tops": ("*fp32", there * heads * parts * 2 * rows * 4),
            "arrived": ("*i32", there * heads * tiles * 4),
        }
        text = "tuner.schedules.attention.triton.decode_program:decode"
        return self.source(text, workload, config, (tiles, parts, heads), constants, workspace)

    def features(self, workload: Workload, config: Config, target: Target) -> dict[str, float]:
        """Multiply-adds with padding, bytes, programs; what the analytic model asks for."""
        rows, tiles, parts, heads = self._programs(workload, config)
        partial = 2 * 4 * heads * parts * rows * block_d(workload) if parts > 1 else 0
        blocks = tiles * parts * heads
        return self.tile_features(workload, config, blocks, workload["kv"] / parts, partial)
