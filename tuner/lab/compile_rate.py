"""How many candidates a minute compile for a device that is not here, with their resources read.

    python -m tuner.lab.compile_rate [--operator gemm] [--shape 4096x4096x4096] [--target cuda:sm_80] [--json]

Random valid configurations of an operator's kernels, kernel by kernel in turn, built as a compile-only sweep
builds them: in children forked from warm processes. The clock starts when those processes are ready; what a
process takes to start is given apart. To be run with nothing else running.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from tuner import registry
from tuner.core.errors import TunerError
from tuner.core.kernel import Kernel
from tuner.core.operator import Operator
from tuner.core.protocol import Protocol
from tuner.core.scratch import Scratch
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.engine.building.build_stage import BuildRequest, BuildStage
from tuner.engine.processes.workers import Workers

GOALS: dict[str, float] = {"nvrtc": 60.0, "triton": 40.0}
"""Candidates a minute of large GEMM on 2 cores that a way to a cubin has to reach, by language."""
_ROUND = 16


@dataclass(frozen=True)
class Rate:
    """What was counted.

    Attributes:
        language: of the builder.
        built: candidates with an artifact and its resources.
        failed: those the compiler refused.
        seconds: wall clock, start-up left out.
        start_s: of the warm process.
    """

    language: str
    built: int
    failed: int
    seconds: float
    start_s: float

    @property
    def a_minute(self) -> float:
        """Candidates compiled a minute; refused ones do not count."""
        return 60 * self.built / self.seconds


def languages(operator: Operator, chosen: Target) -> list[str]:
    """The languages of an operator's kernels that compile for a target."""
    return sorted({k.language for k in _kernels(operator, chosen)})


def _kernels(operator: Operator, chosen: Target) -> list[Kernel]:
    """Those with configurations to draw from: no libraries, no open spaces."""
    return [k for k in registry.kernels_of(operator.name, chosen.kind) if not k.baseline and not k.searcher]


def compile_rate(
    language: str, operator: Operator, shape: str, chosen: Target, seconds: float, jobs: int
) -> Rate:
    """Compiles random candidates of all kernels of a language for so many seconds.

    Args:
        language: of the kernels.
        operator, shape: what they compute, in each kernel's first dtype.
        chosen: what is compiled for.
        seconds: wall clock, at least; a round that has begun is finished.
        jobs: builds at a time.

    Raises:
        TunerError: no kernel of the language can be built here, with the reason.
    """
    if reason := registry.builder_for(language, chosen.kind).unavailable():
        raise TunerError(f"{language}: {reason}")
    kernels = [
        k
        for k in _kernels(operator, chosen)
        if k.language == language and not k.unsupported(operator.parse(shape, k.dtypes[0]), chosen)
    ]
    if not kernels:
        raise TunerError(f"{language}: no kernel of {operator.name} takes {shape} on {chosen.name}")
    requests = [_requests(kernel, operator.parse(shape, kernel.dtypes[0]), chosen) for kernel in kernels]
    scratch = Scratch()
    workers = Workers(scratch.path)
    try:
        stage = BuildStage(workers, scratch.path, chosen, Protocol(threads=1), jobs, None)
        began = time.monotonic()
        workers.warm(stage.warm(language))
        workers.settle()
        start_s = time.monotonic() - began
        built, failed, began = 0, 0, time.monotonic()
        while time.monotonic() - began < seconds:
            batch = [next(requests[i % len(requests)]) for i in range(max(_ROUND, len(requests)))]
            for made in stage.build_all(batch):
                read = made.artifact is not None and bool(made.artifact.metrics)
                built, failed = built + read, failed + (not read)
                made.discard()
        return Rate(language, built, failed, time.monotonic() - began, start_s)
    finally:
        workers.close()
        scratch.close()


def _requests(kernel: Kernel, workload: Workload, chosen: Target) -> Iterator[BuildRequest]:
    """Random candidates of a kernel, without end."""
    space, rng = kernel.space(workload, chosen), random.Random(kernel.name)
    while True:
        yield BuildRequest(kernel, workload, space.sample(rng))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; exit code 1 where a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m tuner.lab.compile_rate", description=__doc__)
    parser.add_argument("--operator", default="gemm")
    parser.add_argument("--shape", help="default: the operator's large example")
    parser.add_argument("--target", default="cuda:sm_80")
    parser.add_argument("--language", action="append", help="default: all that the operator's kernels have")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each language")
    parser.add_argument("--jobs", type=int, default=2, help="builds at a time")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    operator, chosen = registry.operator(given.operator), registry.target(given.target)
    shape = given.shape or operator.large or operator.example
    rows, missed = [], False
    for language in given.language or languages(operator, chosen):
        try:
            rate = compile_rate(language, operator, shape, chosen, given.seconds, given.jobs)
        except TunerError as error:
            print(f"not here: {error}", file=sys.stderr)
            continue
        # Goals are of the shapes they were set for.
        goal = GOALS.get(language) if given.shape is None and operator.large else None
        missed |= goal is not None and rate.a_minute < goal
        rows.append({**asdict(rate), "a_minute": rate.a_minute, "goal": goal, "target": given.target})
        if not given.json:
            wanted = f" (goal: at least {goal:g})" if goal else ""
            print(
                f"{language}, {given.target}: {rate.a_minute:.0f} a minute{wanted}; {rate.built} in "
                f"{rate.seconds:.0f} s, {rate.failed} refused, start-up {rate.start_s:.1f} s",
                flush=True,
            )
    if given.json:
        print(json.dumps(rows, indent=2))
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
