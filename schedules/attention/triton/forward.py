"""Triton attention for many queries: FlashAttention's forward pass."""

from tuner.core.integers import ceildiv
from tuner.core.kernel import Source
from tuner.core.space import Config, Constraint, Parameter, SearchSpace
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.schedules.attention.options import masked
from tuner.schedules.attention.triton.kernel import TritonAttention


class TritonForward(TritonAttention):
    """A program for each tile of queries of each head, over all keys that they see (Dao, 2023)."""

    name = "attn_triton"
    summary = "Triton: online softmax over tiles of keys; causal tiles skipped, grouped heads, paged cache."

    def space(self, workload: Workload, target: Target) -> SearchSpace:
        """Tiles, warps, stages; for f32 also how products are formed."""
        parameters, constraints = self.tile_space(workload, target)
        parameters.insert(0, Parameter("BLOCK_M", (16, 32, 64, 128, 256), "queries a program"))
        constraints.append(Constraint("queries_used", "BLOCK_M < 2 * q or BLOCK_M == 16"))
        constraints.append(Constraint("rows_feed_the_warps", "BLOCK_M >= 4 * num_warps"))
        return SearchSpace(parameters, constraints, self.tile_constants(workload, target))

    def lower(self, workload: Workload, config: Config, target: Target) -> Source:
        """The name of the function, its constants, and its signature."""
        tiles = ceildiv(workload["q"], int(config["BLOCK_M"]))
        text = "tuner.schedules.attention.triton.forward_program:forward"
        return self.source(text, workload, config, (tiles, workload["h"], workload["b"]), {}, {})

    def features(self, workload: Workload, config: Config, target: Target) -> dict[str, float]:
        """Multiply-adds with padding, bytes, programs; what the analytic model asks for."""
        q, kv, rows = workload["q"], workload["kv"], int(config["BLOCK_M"])
        tiles = ceildiv(q, rows)
        keys = float(ceildiv(kv, int(config["BLOCK_N"])) * int(config["BLOCK_N"]))
        if masked(workload):
            keys = min(keys, kv - q / 2 + rows / 2)
        return self.tile_features(workload, config, tiles * workload["h"] * workload["b"], keys, 0)
