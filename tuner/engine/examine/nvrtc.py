"""Does NVRTC take a kernel that the emulator ran? In a process of its own: `python nvrtc.py JOB.json`.

g++ and its headers know more than NVRTC does, and less: what runs on the emulator may not compile for a GPU.
"""

import json
import sys
from functools import lru_cache
from pathlib import Path

from tuner.core.compute_capability import arch_for
from tuner.core.contained import Caps, run_contained
from tuner.core.kernel import Source
from tuner.core.protocol import Protocol
from tuner.core.scratch import Scratch
from tuner.core.target import Target

_TIMEOUT_S = 60.0


def ask_nvrtc(source: Source, target: Target) -> tuple[bool, str]:
    """Whether NVRTC refuses a source, and what it said, or why it was not asked.

    Args:
        source: CUDA C++, of language `nvrtc`.
        target: for whose architecture.
    """
    from tuner import registry

    builder = registry.builders().get("nvrtc")
    reason = builder.unavailable() if builder else "there is no builder nvrtc"
    if reason:
        return False, f"not compiled with NVRTC: {reason}"
    job = {
        "text": source.text, "entry": source.entry, "before": [step.entry for step in source.before],
        "include": source.options.get("include", ""), "flags": list(source.options.get("flags", ())),
        "requires": list(source.options.get("requires", ())), "target": target.name,
    }  # fmt: skip
    why = _refusal(json.dumps(job))
    arch = arch_for(target.arch, job["requires"])
    return bool(why), f"NVRTC refuses it: {why}" if why else f"NVRTC compiles it for {arch}"


@lru_cache(maxsize=64)
def _refusal(job: str) -> str:
    """The first line of the refusal; empty if it compiles. Shapes of one configuration have one text."""
    with Scratch("check_nvrtc-") as folder:
        (folder / "job.json").write_text(job)
        caps = Caps(_TIMEOUT_S, Protocol().memory_bytes, 4 * 2**20, 2**28).on_this_machine()
        command = [sys.executable, "-m", "tuner.engine.examine.nvrtc", str(folder / "job.json")]
        done = run_contained(command, caps, folder / "output")
        if done.passed:
            return f"the compiler was ended: {caps.excess(done.passed)}"
        answer = folder / "answer"
        if done.code != 0 or not answer.exists():
            lines = done.output.strip().splitlines() or [f"it ended with code {done.code}"]
            return lines[-1][:300]
        return answer.read_text()


def _compile(path: Path) -> None:
    """The child: builds what the job says and leaves the first line of the refusal, or nothing."""
    from tuner.builders.cuda.nvrtc import Nvrtc
    from tuner.core.errors import TunerError
    from tuner.core.kernel import Argument, KernelStep, Launch
    from tuner.targets.cuda import target

    job = json.loads(path.read_text())
    launch = Launch((1, 1, 1), (32, 1, 1))
    options = {name: job[name] for name in ("include", "flags", "requires") if job[name]}
    before = tuple(KernelStep(entry, (), launch) for entry in job["before"])
    source = Source("nvrtc", job["text"], job["entry"], (Argument("x"),), 1, launch, options, before)
    answer = ""
    try:
        Nvrtc().build(source, target(job["target"]), path.parent)
    except TunerError as error:
        answer = str(error).splitlines()[0][:500] or "no reason"
    path.with_name("answer").write_text(answer)


if __name__ == "__main__":
    _compile(Path(sys.argv[1]))
