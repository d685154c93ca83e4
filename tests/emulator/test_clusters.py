"""Clusters of blocks: they meet, see each other's shared memory, and what goes wrong there has a finding."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.emulator.emulate import bug_line, compute, run
from tuner.core.errors import BuildError

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


def totals(kernel: str, seed: int) -> Iterator[tuple[np.ndarray, int, int, np.ndarray]]:
    """Of each block of clusters of 2 x 2: its cluster's sum, its rank, its row, and what it has made."""
    y = compute(kernel, arrays(), ["y"], grid=(4, 2), seed=seed).outputs["y"].reshape(2, 4, 32)
    x = X.reshape(2, 4, 32)
    for pair in range(2):
        members = [x[row, 2 * pair + column] for row in range(2) for column in range(2)]
        total = sum((rank + 1) * values[::-1] for rank, values in enumerate(members))
        for rank in range(4):
            row, column = divmod(rank, 2)
            yield total, rank, row, y[row, 2 * pair + column]


@pytest.mark.parametrize("seed", [0, 7])
def test_blocks_of_a_cluster_read_each_others_shared_memory(seed: int) -> None:
    for total, rank, row, found in totals(SUMS, seed):
        np.testing.assert_array_equal(found, total + 1000 * rank + 10000 * row)


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


# As SUMS, by the instructions themselves.
PTX = """__device__ unsigned rank() { unsigned r; asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(r)); return r; }
__device__ void meet() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}
extern "C" __global__ void __cluster_dims__(2, 2, 1) k(const float* x, float* y) {
  __shared__ float own[32];
  const int block = blockIdx.y * gridDim.x + blockIdx.x, i = block * 32 + threadIdx.x;
  own[threadIdx.x] = x[i];
  meet();  // READY
  unsigned count, mine = (unsigned)__cvta_generic_to_shared(own + 31 - threadIdx.x);
  asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(count));
  float sum = 0;
  for (unsigned r = 0; r < count; ++r) {
    float value;
    unsigned there, whose;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(mine), "r"(r));
    asm("getctarank.shared::cluster.u32 %0, %1;" : "=r"(whose) : "r"(there));
    asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(value) : "r"(there));  // BUG
    sum += (whose + 1) * value;
  }
  meet();  // DONE
  if (threadIdx.x == 0) {
    unsigned there;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"((unsigned)__cvta_generic_to_shared(own)),
        "r"(rank() ^ 1));
    asm volatile("st.shared::cluster.f32 [%0], %1;" :: "r"(there), "f"(1000.0f * rank()) : "memory");
  }
  meet();
  y[i] = sum + own[0];
}"""


@pytest.mark.parametrize("seed", [pytest.param(0, marks=pytest.mark.slow), 7])
def test_shared_memory_of_the_cluster_in_ptx(seed: int) -> None:
    for total, rank, _, found in totals(PTX, seed):
        np.testing.assert_array_equal(found, total + 1000 * (rank ^ 1))


def _slow(*values: str) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("wrong", "right", "found"),
    [
        _slow("meet();  // READY", "__syncthreads();", "may not have begun"),
        _slow("meet();  // DONE", "__syncthreads();", "race"),
        _slow("ld.shared::cluster.f32", "ld.shared::cta.f32", "out_of_bounds"),
        ("barrier.cluster.arrive.release.aligned", "fence.acq_rel.cluster", "waits and has not arrived"),
    ],
)
def test_mistakes_with_a_cluster_in_ptx_are_found(wrong: str, right: str, found: str) -> None:
    result = run(PTX.replace(wrong, right), arrays(), ["y"], grid=(4, 2), sanitize=True)
    said = f"{result.error} {[str(f) for f in result.findings]}"
    assert found in said, said


def test_what_clusters_lack_names_itself() -> None:
    text = PTX.replace("st.shared::cluster.f32", "st.async.shared::cluster.f32")
    with pytest.raises(BuildError, match=r"st\.async"):
        run(text, arrays(), ["y"], grid=(4, 2))
