"""Checks a CUDA kernel on the emulator in a process of its own: outputs, and what the sanitizers found.

This is what `tuner check` stands on. A kernel that crashes, loops for ever or writes wherever it likes costs
one child process; what was found until then is still reported.
"""

import json
import re
import signal
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tuner.core.artifact import Artifact
from tuner.core.brief import brief
from tuner.core.builder import Builder
from tuner.core.contained import ISOLATED, Caps, run_contained
from tuner.core.host_cxx import compilers_limited
from tuner.core.kernel import KernelStep, Launch, Source
from tuner.core.protocol import Protocol
from tuner.core.scratch import Scratch
from tuner.core.target import Target
from tuner.devices.emulator.banks import BankUse, read_banks
from tuner.devices.emulator.child import STATUS, entries
from tuner.devices.emulator.findings import CodePlace, Finding, LaunchContext, TensorInfo, read_log
from tuner.devices.emulator.words import describe

__all__ = [
    "BankUse",
    "CheckResult",
    "CodePlace",
    "Finding",
    "check_emulated",
    "check_source",
    "launch_findings",
]

_LOG_BYTES = 1 << 20
# What a kernel prints is of use to nobody; a run child of a sweep has the same limit.
_OUTPUT_BYTES, _MEMORY_BYTES = 4 * 2**20, Protocol().memory_bytes
_COMPILER = Caps(Protocol().build_timeout_s, _MEMORY_BYTES, file_bytes=2**30)
_CHILD = Path(__file__).with_name("child.py")
# A shadow record a byte of a workspace, whose element type is not known; larger ones have one for 4 bytes.
_FINE_WORKSPACE = 16 * 2**20


@dataclass(frozen=True)
class CheckResult:
    """What came of a check.

    Attributes:
        findings: in the order found; empty without sanitizers unless the kernel crashed or did not end.
        outputs: tensors the kernel was to write, as it left them; never written elements are NaN or -1.
        completed: every thread ran to its end.
        error: why not, in one line.
        banks: bank conflicts of shared memory by line, most first; empty without sanitizers.
    """

    findings: tuple[Finding, ...]
    outputs: dict[str, np.ndarray]
    completed: bool
    error: str = ""
    banks: tuple[BankUse, ...] = ()

    @property
    def clean(self) -> bool:
        """It ran to its end and nothing was found."""
        return self.completed and not self.findings


def launch_findings(artifact: Artifact, target: Target) -> list[Finding]:
    """What keeps a launch from starting on a target: too many threads, blocks, shared bytes, host code.

    Limits that the target does not state are those all compute capabilities share (CUDA C++ Programming
    Guide, "Technical Specifications per Compute Capability").
    """
    description = json.loads(artifact.path.with_suffix(".json").read_text())
    static = [*description["static_bytes_before"], description["static_bytes"]]
    found = [_host_code(code, artifact.entry) for code in description.get("host_code", ())]
    for step, taken in zip(artifact.steps, static, strict=True):
        assert step.launch is not None
        for problem in _launch_problems(step.launch, taken, description["dynamic_bytes"], target):
            place = CodePlace(step.entry, 0)
            found.append(Finding("launch_limits", step.entry, f"{problem} on {target.name}", place))
    return found


def _host_code(code: Mapping[str, Any], entry: str) -> Finding:
    name = re.sub(r"^_GLOBAL__sub_[ID]_(?:\d+_\d+_)?", "", code["symbol"])
    message = (
        f"host code ({name}) would run as soon as the file is loaded, and never on a GPU: no constructors of "
        "global objects, no __attribute__((constructor))"
    )
    return Finding("host_code", entry, message, CodePlace(code["file"], code["line"]))


def _launch_problems(launch: Launch, static: int, built: int, target: Target) -> list[str]:
    limit = {"max_threads_block": 1024, "shared_bytes_block": 48 * 1024, "max_grid_x": 2**31 - 1,
             "max_grid_y": 65_535, "max_grid_z": 65_535, **target.limits}  # fmt: skip
    threads = launch.block[0] * launch.block[1] * launch.block[2]
    shared = static + launch.shared_bytes
    problems = []
    if launch.shared_bytes > built:
        problems.append(f"{launch.shared_bytes} bytes of dynamic shared memory, built for {built}")
    if threads > limit["max_threads_block"]:
        problems.append(f"{threads} threads a block, at most {limit['max_threads_block']:.0f}")
    elif threads < 1:
        problems.append("a block without threads")
    else:
        for size, axis, most in zip(launch.block, "xyz", (1024, 1024, 64), strict=True):
            if size > most:
                problems.append(f"{size} threads in block dimension {axis}, at most {most}")
    if static > limit["shared_bytes_block"]:
        problems.append(f"{static} bytes of static shared memory, at most {limit['shared_bytes_block']:.0f}")
    most_shared = limit.get("shared_bytes_block_optin", limit["shared_bytes_block"])
    if shared > most_shared:
        problems.append(f"{shared} bytes of shared memory a block, at most {most_shared:.0f}")
    for size, axis in zip(launch.grid, "xyz", strict=True):
        if not 1 <= size <= limit[f"max_grid_{axis}"]:
            problems.append(f"{size} blocks in grid dimension {axis}, 1 to {limit[f'max_grid_{axis}']:.0f}")
    return problems


def check_source(
    builder: Builder, source: Source, target: Target, tensors: Mapping[str, np.ndarray],
    outputs: Collection[str], **options: Any,
) -> CheckResult:  # fmt: skip
    """Builds a source with an emulator builder (sanitized or not) in a temporary folder, and checks it.

    Args:
        builder: `CudaEmulatedBuilder(sanitize=True)`, or without for outputs only.
        source, target, tensors, outputs, options: as in `check_emulated`.

    Raises:
        BuildError: it does not compile.
    """
    with Scratch("check_emulated-") as folder:
        with compilers_limited(_COMPILER):
            artifact = builder.build(source, target, folder)
        return check_emulated(artifact, target, tensors, outputs, **options)


def check_emulated(
    artifact: Artifact, target: Target, tensors: Mapping[str, np.ndarray], outputs: Collection[str], *,
    seed: int = 0, launches: int = 1, timeout_s: float = 60.0, initial: Collection[str] = (),
) -> CheckResult:  # fmt: skip
    """Runs an artifact of the builder `cuda_emulated` in a child process.

    Args:
        artifact: sanitized (then there are findings) or plain.
        target: whose limits the launch must keep.
        tensors: by the names of the arguments; they are copied, never changed. A workspace may be among them,
            where it does not begin with zeros.
        outputs: names of those the kernel writes. They are poisoned, and reading one before writing it is a
            finding. Writing any other is one too (`input_modified`).
        seed: 0 runs threads in order; any other number in an order of its own, drawn anew in each round.
        launches: how often the kernel runs; what it left in its workspaces stays.
        timeout_s: wall clock of the child.
        initial: those of the outputs that begin with their tensors' values, and are changed in place.
    """
    problems = launch_findings(artifact, target)
    if problems:
        return CheckResult(tuple(problems), {}, False, problems[0].message)
    with Scratch("check_emulated-") as folder:
        given = (set(outputs), set(initial))
        return _check(artifact, dict(tensors), given, folder, seed, launches, timeout_s)


@dataclass(frozen=True)
class _Memory:
    """A tensor or workspace in the file that goes to the child and comes back."""

    name: str
    offset: int
    bytes: int
    granule: int
    initialized: bool


def _write_tensors(
    path: Path, artifact: Artifact, tensors: Mapping[str, np.ndarray], poison: set[str]
) -> list[_Memory]:
    memory: list[_Memory] = []
    with path.open("wb") as file:
        for name, array in tensors.items():
            data = np.ascontiguousarray(array).tobytes()
            poisoned = name in poison
            memory.append(_Memory(name, file.tell(), len(data), array.dtype.itemsize, not poisoned))
            file.write(b"\xff" * len(data) if poisoned else data)
        for name, size in artifact.workspaces.items():
            if name in tensors:
                continue
            granule = 1 if size <= _FINE_WORKSPACE else 4
            memory.append(_Memory(name, file.tell(), size, granule, True))
            file.write(bytes(size))
        if not memory:
            file.write(b"\0")  # an empty file cannot be mapped
    return memory


def _check(
    artifact: Artifact, tensors: dict[str, np.ndarray], written: tuple[set[str], set[str]], folder: Path,
    seed: int, launches: int, timeout_s: float,
) -> CheckResult:  # fmt: skip
    outputs, initial = written
    memory = _write_tensors(folder / "tensors", artifact, tensors, outputs - initial)
    nowhere = CodePlace(artifact.entry, 0)
    found: list[Finding] = []
    banks: list[BankUse] = []
    # Several kernels take turns, and so a child each; one kernel is launched again by the same child.
    symbols = list(zip(artifact.steps, entries(len(artifact.steps)), strict=True))
    turns, launches = (launches, 1) if artifact.before else (1, launches)
    for turn, (step, symbol) in ((t, s) for t in range(turns) for s in symbols):
        job = _job(artifact, step, symbol, memory, folder)
        job |= {"seed": seed + turn * bool(seed), "launches": launches}
        (folder / "job.json").write_text(json.dumps(job))
        error = _run_child(folder / "job.json", timeout_s)
        context = _context(artifact, step, memory)
        records = read_log(folder / "findings")
        own = describe(context, records) if records else []
        banks += read_banks(folder / "banks", context)
        if error.startswith("no end"):
            own.append(Finding("timeout", step.entry, error, nowhere))
        elif error and not own:
            own.append(Finding("crash", step.entry, error, nowhere))
        found += own
        if error:
            return CheckResult(tuple(found), {}, False, error)
        # What this kernel was to write the next may read; what it left out is still poisoned.
        given = {a.name for argument in step.arguments for a in (argument, *argument.fields)}
        memory = [replace(m, initialized=m.initialized or m.name in given) for m in memory]
    results: dict[str, np.ndarray] = {}
    content = (folder / "tensors").read_bytes()
    if len(content) < max((m.offset + m.bytes for m in memory), default=0):
        return CheckResult(tuple(found), {}, False, "the file of its tensors was cut")
    for item in memory:
        if item.name not in tensors:
            continue
        before = np.ascontiguousarray(tensors[item.name])
        after = np.frombuffer(content, before.dtype, before.size, item.offset).reshape(before.shape)
        if item.name in outputs:
            results[item.name] = after.copy()
        elif after.tobytes() != before.tobytes():
            changed = sum(x != y for x, y in zip(after.tobytes(), before.tobytes(), strict=True))
            text = f"the kernel changed {changed} bytes of its input {item.name}"
            found.append(Finding("input_modified", artifact.entry, text, nowhere))
    return CheckResult(tuple(found), results, True, banks=tuple(banks))


def _job(
    artifact: Artifact, step: KernelStep, symbol: str, memory: list[_Memory], folder: Path
) -> dict[str, Any]:
    assert step.launch is not None
    (folder / "findings").write_bytes(bytes(_LOG_BYTES))
    (folder / "banks").unlink(missing_ok=True)
    return {
        "library": str(artifact.path.resolve()), "findings": str(folder / "findings"), "entry": symbol,
        "tensors": str(folder / "tensors"), "memory": [asdict(m) for m in memory],
        "grid": list(step.launch.grid), "block": list(step.launch.block),
        "arguments": [asdict(argument) for argument in step.arguments],
    }  # fmt: skip


def _run_child(job: Path, timeout_s: float) -> str:
    """Why the child did not run the kernel to its end; empty if it did."""
    caps = Caps(timeout_s, _MEMORY_BYTES, _OUTPUT_BYTES).on_this_machine()
    done = run_contained([*ISOLATED, str(_CHILD), str(job)], caps, job.with_name("output"))
    if done.passed:
        return caps.excess(done.passed)
    if done.code < 0:
        number = -done.code  # one of the real-time signals has no name
        names = {int(known): known.name for known in signal.Signals}
        return f"died of {names.get(number, f'signal {number}')}"
    status = job.with_name("status")
    if done.code != 0 or not status.exists():
        reason = done.output.strip().splitlines()[-1:] or [f"exit code {done.code}"]
        return f"the emulator failed: {reason[0]}"
    word = status.read_text(errors="replace")[:20].strip()
    if word == "0":
        return ""
    known = {str(code): text for code, text in STATUS.items()}
    return known.get(word, f"the emulator ended with status {brief(word)}")


def _context(artifact: Artifact, step: KernelStep, memory: list[_Memory]) -> LaunchContext:
    launch = step.launch
    assert launch is not None
    description = json.loads(artifact.path.with_suffix(".json").read_text())
    return LaunchContext(
        library=artifact.path, kernel=step.entry, grid=launch.grid, block=launch.block,
        tensors=[TensorInfo(m.name, m.bytes, m.granule) for m in memory],
        variables=description["variables"], includes=description["includes"],
        source=artifact.path.with_name("kernel.cu").read_text(),
        generated=bool(description.get("generated")),
    )  # fmt: skip
