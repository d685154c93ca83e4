"""How many GPU candidates a minute compile to a cubin with resources read: the lab's own figures.

    python -m tuner.lab.compile_rate [--target cuda:sm_80] [--seconds 60] [--json]

Random valid configurations of 4096^3 f32 GEMM, kernel by kernel in turn, built as a compile-only sweep builds
them: in children forked from warm processes. The clock starts when those processes are ready; what a process
takes to start is given apart. To be run with nothing else running.
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
from tuner.core.protocol import Protocol
from tuner.core.scratch import Scratch
from tuner.core.target import Target
from tuner.engine.building.build_stage import BuildRequest, BuildStage
from tuner.engine.processes.workers import Workers
from tuner.targets.cuda import target

GOALS: dict[str, float | None] = {"nvrtc": 60.0, "triton": 40.0, "tensorir_cuda": None}
"""Candidates a minute on 2 cores that a way to a cubin has to reach, by language."""
NAMES = {"nvrtc": "CUDA ladder", "triton": "Triton", "tensorir_cuda": "TensorIR for CUDA"}
_ROUND = 16


@dataclass(frozen=True)
class Rate:
    """What was counted.

    Attributes:
        language: of the builder.
        built: candidates with an artifact and its registers.
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


def compile_rate(language: str, chosen: Target, seconds: float, jobs: int, size: int = 4096) -> Rate:
    """Compiles random candidates of all GEMM kernels of a language for so many seconds.

    Args:
        language: name of a builder.
        chosen: a CUDA target.
        seconds: wall clock, at least; a round that has begun is finished.
        jobs: builds at a time.
        size: m = n = k.

    Raises:
        TunerError: no kernel of the language can be built here, with the reason.
    """
    if reason := registry.builder(language).unavailable():
        raise TunerError(f"{language}: {reason}")
    kernels = [
        k
        for k in registry.kernels_of("gemm", "cuda")
        if k.language == language and not k.baseline and not k.searcher
    ]
    requests = [_requests(kernel, chosen, size) for kernel in kernels]
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
                read = made.artifact is not None and "registers" in made.artifact.metrics
                built, failed = built + read, failed + (not read)
                made.discard()
        return Rate(language, built, failed, time.monotonic() - began, start_s)
    finally:
        workers.close()
        scratch.close()


def _requests(kernel: Kernel, chosen: Target, size: int) -> Iterator[BuildRequest]:
    """Random candidates of a kernel, without end."""
    workload = registry.operator(kernel.operator).workload(kernel.dtypes[0], m=size, n=size, k=size)
    space, rng = kernel.space(workload, chosen), random.Random(kernel.name)
    while True:
        yield BuildRequest(kernel, workload, space.sample(rng))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; exit code 1 where a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m tuner.lab.compile_rate", description=__doc__)
    parser.add_argument("--target", default="cuda:sm_80")
    parser.add_argument("--language", action="append", choices=list(GOALS))
    parser.add_argument("--seconds", type=float, default=60.0, help="of each language")
    parser.add_argument("--jobs", type=int, default=2, help="builds at a time")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    rows, missed = [], False
    for language in given.language or list(GOALS):
        try:
            rate = compile_rate(language, target(given.target), given.seconds, given.jobs)
        except TunerError as error:
            print(f"{NAMES[language]}: not here: {error}", file=sys.stderr)
            continue
        goal = GOALS[language]
        missed |= goal is not None and rate.a_minute < goal
        rows.append({**asdict(rate), "a_minute": rate.a_minute, "goal": goal, "target": given.target})
        if not given.json:
            wanted = f" (goal: at least {goal:g})" if goal else ""
            print(
                f"{NAMES[language]}, {given.target}: {rate.a_minute:.0f} a minute{wanted}; {rate.built} in "
                f"{rate.seconds:.0f} s, {rate.failed} refused, start-up {rate.start_s:.1f} s",
                flush=True,
            )
    if given.json:
        print(json.dumps(rows, indent=2))
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
