"""The resources of every kernel of an operator at its best-ranked configuration, as a table.

    python -m tuner.lab.ladder --target cuda:sm_80 --target cuda:sm_90 --output docs/gpu-ladder.md
    python -m tuner.lab.ladder --operator conv2d --shape "n1 c64 h56 w56 k64 r3 s3"

Candidates are compiled, never run: random valid configurations, then neighbours of the best, ranked by the
target's model. The predicted column is that model's word, nothing measured. Under each table stands what a
rung claims (`Kernel.claims`) and does not show: a spill, narrow loads, a kernel for tensor cores
without their instructions.
"""

import argparse
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tuner import registry
from tuner.core.kernel import Kernel
from tuner.core.operator import Operator
from tuner.core.protocol import Protocol
from tuner.core.scratch import Scratch
from tuner.core.space import Config
from tuner.core.target import Prediction, Target
from tuner.core.workload import Workload
from tuner.engine.building.build_stage import BuildRequest, BuildStage
from tuner.engine.processes.workers import Workers


@dataclass(frozen=True)
class Rung:
    """One row of the table.

    Attributes:
        kernel, workload, config: what was compiled.
        metrics: of the artifact, with its occupancy.
        limiter: what limits the occupancy.
        prediction: of the analytic model.
        built, rejected: candidates compiled, and those of them over the target's limits or spilling.
    """

    kernel: Kernel
    workload: Workload
    config: Config
    metrics: dict[str, float]
    limiter: str
    prediction: Prediction
    built: int
    rejected: int


@dataclass(frozen=True)
class Search:
    """How long the best-ranked configuration of a kernel is looked for.

    Attributes:
        samples: random configurations a kernel.
        rounds: rounds of neighbours after them, at most.
        seed: of the random configurations.
        jobs: builds at a time.
    """

    samples: int = 24
    rounds: int = 4
    seed: int = 0
    jobs: int = 2


class BestRanked:
    """The best-ranked configuration of one kernel so far.

    Args:
        kernel, workload, chosen: what is compiled for which target.
        stage: compiles.
    """

    def __init__(self, kernel: Kernel, workload: Workload, chosen: Target, stage: BuildStage) -> None:
        self._kernel, self._workload, self._target, self._stage = kernel, workload, chosen, stage
        self._operator = registry.operator(workload.operator)
        self._space = kernel.space(workload, chosen)
        self._seen: set[tuple[int, ...]] = set()
        self._built = self._rejected = 0
        self.best: Rung | None = None
        self.reason = "no candidate was valid"

    def try_all(self, configs: Sequence[Config]) -> bool:
        """Compiles those not seen before; whether one of them is the best now."""
        fresh = [c for c in configs if self._space.indices(c) not in self._seen]
        self._seen.update(self._space.indices(c) for c in fresh)
        requests = [BuildRequest(self._kernel, self._workload, config) for config in fresh]
        before = self.best
        for request, built in zip(requests, self._stage.build_all(requests), strict=True):
            self._built += 1
            if built.artifact is not None:
                features = self._kernel.features(self._workload, request.config, self._target)
                found = self._target.predict(self._operator, self._workload, built.artifact, features)
                problem = self._target.problem(built.artifact)
                if found is None or problem:
                    self._rejected += 1
                    self.reason = problem or f"{self._target.name} holds none of it"
                elif self.best is None or found.time_s < self.best.prediction.time_s:
                    metrics = self._target.metrics(built.artifact)
                    limiter = self._target.limiter(built.artifact)
                    self.best = Rung(
                        self._kernel, self._workload, request.config, metrics, limiter, found, 0, 0
                    )
            else:
                self._rejected += 1
                self.reason = built.error.split("\n")[0]
            built.discard()
        return self.best is not before

    def search(self, samples: int, rounds: int, seed: int) -> Rung | None:
        """The best of random configurations, improved by its neighbours, two steps along each parameter."""
        rng = random.Random(seed)
        self.try_all([self._space.sample(rng) for _ in range(samples)])
        for _ in range(rounds):
            if self.best is None or not self.try_all(list(self._space.neighbours(self.best.config, 2))):
                break
        if self.best is None:
            return None
        return replace(self.best, built=self._built, rejected=self._rejected)


def climb(
    operator: Operator, shape: str, chosen: Target, search: Search, names: Sequence[str] = (),
    missing: list[str] | None = None,
) -> Iterator[Rung]:  # fmt: skip
    """The rows for one target, kernel by kernel, each for the dtypes of `row_dtypes`.

    Args:
        operator, shape: what is computed.
        chosen: a target with a model.
        search: how long is searched.
        names: kernels of the operator; empty for all that compile for the target.
        missing: gets a line for each kernel without a row, with the reason.
    """
    # An open space (MetaSchedule's traces) has no configurations to draw from.
    kernels = [
        k for k in registry.kernels_of(operator.name, chosen.kind) if not k.baseline and not k.searcher
    ]
    kernels.sort(key=lambda k: str(k.source_files()[0].name))
    scratch = Scratch()
    workers = Workers(scratch.path)
    try:
        stage = BuildStage(workers, scratch.path, chosen, Protocol(threads=1), search.jobs, None)
        for kernel in kernels:
            if names and kernel.name not in names:
                continue
            for dtype in row_dtypes(kernel):
                workload = operator.parse(shape, dtype)
                reason = kernel.unsupported(workload, chosen) or registry.no_builder(kernel, chosen.kind)
                if reason is None:
                    ranking = BestRanked(kernel, workload, chosen, stage)
                    row = ranking.search(search.samples, search.rounds, search.seed)
                    if row is not None:
                        yield row
                        continue
                    reason = ranking.reason
                if missing is not None:
                    missing.append(f"{kernel.name} ({dtype}) has no row: {reason}")
    finally:
        workers.close()
        scratch.close()


def row_dtypes(kernel: Kernel) -> tuple[str, ...]:
    """The dtypes a kernel has rows for: its first, and those that it claims something of."""
    claimed = [claim.partition(":")[2] for claim in kernel.claims]
    return tuple(dict.fromkeys([*kernel.dtypes[:1], *filter(None, claimed)]))


def unmet(row: Rung) -> list[str]:
    """What a rung claims and its row does not show; empty where all holds. No rung may spill."""
    m, found = row.metrics, []
    if m.get("spill_bytes", 0) > 0:
        found.append(f"spills {m['spill_bytes']:.0f} bytes")
    claims = [claim.partition(":") for claim in row.kernel.claims]
    held_to = {claim for claim, _, dtype in claims if dtype in ("", row.workload.dtype)}
    if "wide_loads" in held_to and m.get("load_bits", 0) < 128:
        found.append(f"loads {m.get('load_bits', 0):.0f} bits at once, not 128")
    if "tensor_cores" in held_to and not m.get("loop_tensor", 0):
        found.append("has no tensor-core instruction in its main loop")
    return found


_HEAD = (
    "| kernel | dtype | registers | shared memory (bytes) | occupancy | limited by | spills (bytes) | "
    "load width (bits) | FMA share of the loop | tensor share of the loop | predicted, not measured | "
    "candidates (rejected) | configuration |\n" + "|" + " --- |" * 13
)


def markdown(row: Rung) -> str:
    """One row of the table."""
    m = row.metrics
    instructions = max(1.0, m.get("loop_instructions", 0))
    tensor = m.get("loop_tensor", 0) / instructions
    plain = (m.get("loop_math", 0) - m.get("loop_tensor", 0)) / instructions
    operator = registry.operator(row.workload.operator)
    rate = operator.flops(row.workload) / row.prediction.time_s / 1e12
    cells = [
        row.kernel.name, row.workload.dtype, f"{m.get('registers', 0):.0f}",
        f"{m.get('shared_bytes', 0):.0f}",
        f"{m.get('occupancy', 0):.0%}", row.limiter or "-", f"{m.get('spill_bytes', 0):.0f}",
        f"{m.get('load_bits', 0):.0f}",
        f"{plain:.0%}", f"{tensor:.0%}", f"{rate:.1f} Tflop/s ({row.prediction.bound})",
        f"{row.built} ({row.rejected})", " ".join(f"{k}={v}" for k, v in row.config.items()),
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def table(chosen: Target, shape: str, rows: Iterator[Rung], missing: list[str]) -> Iterator[str]:
    """The lines of one target's section, as they come to be known."""
    product = registry.target_kind(chosen.kind).product(chosen)
    yield f"\n### {chosen.name} ({product}), {shape}\n\n{_HEAD}"
    missed = []
    for row in rows:
        yield markdown(row)
        missed += [f"{row.kernel.name} ({row.workload.dtype}) {what}" for what in unmet(row)]
    lines = "\n".join(f"- {line}" for line in missed)
    yield f"\nClaims not met:\n\n{lines}" if missed else "\nEvery rung here shows what it claims."
    if missing:
        lines = "\n".join(f"- {line}" for line in missing)
        yield f"\nWithout a row:\n\n{lines}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the tables, or writes them with a head that names the command."""
    parser = argparse.ArgumentParser(prog="python -m tuner.lab.ladder", description=__doc__)
    parser.add_argument("--operator", default="gemm")
    parser.add_argument("--shape", help="default: the operator's large example")
    parser.add_argument("--target", action="append", help="cuda:sm_80; may be given several times")
    parser.add_argument("--kernel", action="append", default=[], help="these kernels only")
    parser.add_argument("--samples", type=int, default=Search.samples, help="random configurations a kernel")
    parser.add_argument(
        "--rounds", type=int, default=Search.rounds, help="rounds of neighbours after them, at most"
    )
    parser.add_argument("--seed", type=int, default=Search.seed)
    parser.add_argument("--jobs", type=int, default=Search.jobs, help="builds at a time")
    parser.add_argument("--output", type=Path, help="a Markdown file to write")
    given = parser.parse_args(arguments)
    operator, names = registry.operator(given.operator), given.target or ["cuda:sm_80", "cuda:sm_90"]
    shape = given.shape or operator.large or operator.example
    search = Search(given.samples, given.rounds, given.seed, given.jobs)
    targets = [registry.target(name) for name in names]
    written = [_preface(arguments, operator, targets[0])] if given.output else []
    for chosen in targets:
        missing: list[str] = []
        for line in table(
            chosen, shape, climb(operator, shape, chosen, search, given.kernel, missing), missing
        ):
            print(line, flush=True)
            written.append(line)
    if given.output:
        given.output.write_text("\n".join(written) + "\n")


def _preface(arguments: Sequence[str] | None, operator: Operator, chosen: Target) -> str:
    words = " ".join(sys.argv[1:] if arguments is None else arguments)
    kernels = [k for k in registry.kernels_of(operator.name, chosen.kind) if not k.baseline]
    usable = [k for k in kernels if registry.no_builder(k, chosen.kind) is None]
    chains = dict.fromkeys(registry.builder_of(k, chosen).toolchain(chosen) for k in usable)
    made_by = ", ".join(f"{chain.name} {chain.version}" for chain in chains)
    return f"""# The GPU ladder: {operator.name}, rung by rung

Made by `python -m tuner.lab.ladder {words}`, compilers: {made_by}. Nothing here ran on a GPU: every
candidate was compiled to machine code, its resources and its main loop were read from it, and the
analytic model (`tuner/targets/gpu_model/analytic.py`) chose the configuration of each row. The predicted
speed is that model's word: it ranks, it is no measurement. Shares are of the main loop's instructions."""


if __name__ == "__main__":
    main()
