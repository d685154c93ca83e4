"""Clusters of blocks: they meet, see each other's shared memory, and what goes wrong there has a finding."""

import numpy as np
import pytest

from tests.emulator.emulate import bug_line, compute, run

# Every block of a cluster of 2 x 2 adds up what all of them have; the grid is 4 x 2.
SUMS = """#include <cooperative_groups.h>
namespace cg = cooperative_groups;
#define WIDE 2
extern "C" __global__ void __cluster_dims__(WIDE, 2, 1) k(const float* x, float* y) {
  __shared__ float own[32];
  cg::cluster_group cluster = cg::this_cluster();
  const int block = blockIdx.y * gridDim.x + blockIdx.x, i = block * 32 + threadIdx.x;
  own[threadIdx.x] = x[i];
  cluster.sync();  // READY
  float sum = 0;
  for (int rank = 0; rank < cluster.num_blocks(); ++rank)
    sum += (rank + 1) * cluster.map_shared_rank(own, rank)[31 - threadIdx.x];  // BUG
  cluster.sync();  // DONE
  y[i] = sum + 1000 * cluster.block_rank() + 10000 * cluster.block_index().y;
}"""
X = np.arange(256, dtype=np.float32)


def arrays() -> dict[str, np.ndarray]:
    return {"x": X, "y": np.zeros_like(X)}


@pytest.mark.parametrize("seed", [0, 7])
def test_blocks_of_a_cluster_read_each_others_shared_memory(seed: int) -> None:
    y = compute(SUMS, arrays(), ["y"], grid=(4, 2), seed=seed).outputs["y"].reshape(2, 4, 32)
    x = X.reshape(2, 4, 32)
    for pair in range(2):
        members = [x[row, 2 * pair + column] for row in range(2) for column in range(2)]
        total = sum((rank + 1) * values[::-1] for rank, values in enumerate(members))
        for rank in range(4):
            row, column = divmod(rank, 2)
            expected = total + 1000 * rank + 10000 * row
            np.testing.assert_array_equal(y[row, 2 * pair + column], expected)


@pytest.mark.parametrize(
    ("removed", "found"),
    [("cluster.sync();  // READY", "may not have begun"), ("cluster.sync();  // DONE", "has ended")],
)
def test_a_missing_barrier_of_the_cluster_is_found(removed: str, found: str) -> None:
    text = SUMS.replace(removed, "__syncthreads();")
    result = run(text, arrays(), ["y"], grid=(4, 2), sanitize=True)
    assert any(found in f.message and f.place.line == bug_line(text) for f in result.findings), [
        str(f) for f in result.findings
    ]


def test_a_write_that_no_barrier_orders_is_a_race() -> None:
    text = SUMS.replace("own[threadIdx.x] = x[i];", "own[threadIdx.x] = x[i];\n  cluster.sync();").replace(
        "cluster.sync();  // READY",
        "*cluster.map_shared_rank(own + threadIdx.x, cluster.block_rank() ^ 1) = x[i] + 1;  // RACE\n"
        "  __syncthreads();",
    )
    result = run(text, arrays(), ["y"], grid=(4, 2), sanitize=True)
    assert any("race" in f.kind for f in result.findings), [str(f) for f in result.findings]


def test_a_grid_that_clusters_do_not_divide_is_refused() -> None:
    result = run(SUMS, arrays(), ["y"], grid=(1, 2), sanitize=True)
    assert "no multiple of __cluster_dims__" in f"{result.error} {[str(f) for f in result.findings]}"


def test_without_cluster_dims_a_block_is_its_cluster() -> None:
    text = SUMS.replace("__cluster_dims__(WIDE, 2, 1)", "")
    y = compute(text, arrays(), ["y"], grid=(8,)).outputs["y"].reshape(8, 32)
    np.testing.assert_array_equal(y, X.reshape(8, 32)[:, ::-1])
