"""TensorIR to shared libraries: TVMScript through TVM's LLVM back end, linked to a small runtime of ours.

The result has nothing of TVM in it: a device loads it like a C++ kernel (see
`cuda_src/runtime/tensorir.cpp`), so neither timing nor a user's program imports TVM.
"""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tuner.builders.host.cxx import elf_section_bytes
from tuner.builders.host.link import link, linker_version
from tuner.builders.tvm.trace import is_trace, scheduled
from tuner.core.artifact import Artifact, Toolchain
from tuner.core.builder import Builder
from tuner.core.compiled import compiled
from tuner.core.digest import digest, digest_files
from tuner.core.errors import BuildError
from tuner.core.host_cxx import compiler_identity, compiler_version, missing_compiler, require_compiler
from tuner.core.kernel import Argument, Source
from tuner.core.places import CUDA_SRC
from tuner.core.scratch import Scratch
from tuner.core.target import Target
from tuner.core.tvm_target import target_dict

CALL = "tuner_call"
"""The symbol a device calls: `int tuner_call(void** args)`, 0 for success."""

RUNTIME = CUDA_SRC / "runtime" / "tensorir.cpp"
_COMPILE = ("-std=c++17", "-O2", "-fPIC", "-fopenmp", "-fvisibility=hidden", "-fno-exceptions", "-c")
# Arguments are made by our runtime, with the shapes the function was compiled for.
_CONFIG: Mapping[str, Any] = {"tirx.disable_assert": True}


@cache
def _runtime_object() -> bytes:
    """Our runtime, compiled: no instruction of it depends on the target.

    Raises:
        BuildError: it does not compile.
        Unavailable: there is no C++ compiler.
    """
    return compiled(RUNTIME, _COMPILE, ".o").read_bytes()


class TensorIRBuilder(Builder):
    """Compiles TVMScript of one module with one function, the entry.

    Options of a source: `trace`, a MetaSchedule trace that schedules the script; `llvm`, LLVM's own switches;
    `llvm_level`, how far LLVM optimizes, 0 to 3 (TVM's default).

    `build` writes kernel.tvm (the script), kernel.o (with symbols, to disassemble) and kernel.so. The
    artifact's arguments are the number of threads, the number of tensors, and the tensors: what
    `tuner_call` of our runtime takes.
    """

    name = "tensorir"
    target_kinds = ("cpu",)
    preload = ("tuner.builders.tvm.warm",)

    def unavailable(self) -> str | None:
        """TVM is not installed, or nothing can link."""
        if find_spec("tvm") is None:
            return "TVM is not installed: pip install apache-tvm"
        return missing_compiler()

    def warm_up(self) -> None:
        """Compiles our runtime, and a small function, so that what TVM and LLVM do late has been done."""
        import tvm

        compiler_version(require_compiler())
        linker_version()
        module = tvm.script.from_source(_WARM)
        with Scratch("warm-") as folder:
            _compile(module, {"kind": "llvm"}, folder / "kernel.o")
            link(folder, _runtime_object())

    def toolchain(self, target: Target) -> Toolchain:
        """TVM's version and the target it compiles for; the linker and our runtime's source."""
        t = target_dict(target)
        runtime = f"runtime={digest_files([RUNTIME])}"
        linked = (runtime, compiler_identity(require_compiler()), linker_version())
        flags = (t["mtriple"], t.get("mcpu", ""), *t["mattr"], *linked)
        return Toolchain("tvm", version("apache-tvm"), flags)

    def build(self, source: Source, target: Target, folder: Path) -> Artifact:
        """Parses, compiles, links.

        Raises:
            BuildError: the script does not parse, a pass or LLVM refuses it, or it does not link.
            InvalidConfig: the trace does not apply to the script.
            Unavailable: there is no C++ compiler.
        """
        require_compiler()
        if is_trace(source):
            module = scheduled(source)
            (folder / "trace.json").write_text(str(source.options["trace"]))
        else:
            module = _parse(source)
        (folder / "kernel.tvm").write_text(source.text)
        compiled_for = target_dict(target)
        if "llvm" in source.options:
            compiled_for["cl-opt"] = list(source.options["llvm"])
        if "llvm_level" in source.options:
            compiled_for["opt-level"] = int(source.options["llvm_level"])
        _compile(module, compiled_for, folder / "kernel.o")
        link(folder, _runtime_object())
        arguments = (
            Argument("threads", "int32", source.threads),
            Argument("tensors", "int32", len(source.arguments)),
            *source.arguments,
        )
        code_bytes = elf_section_bytes(folder / "kernel.o", ".text") or 0
        return Artifact(
            path=folder / "kernel.so",
            format="shared_library",
            entry=CALL,
            arguments=arguments,
            digest=digest([digest_files([folder / "kernel.so"]), source.threads]),
            toolchain=self.toolchain(target),
            threads=source.threads,
            metrics={"code_bytes": float(code_bytes)},
        )


_WARM = """
@I.ir_module
class ScheduledModule:
    @T.prim_func(s_tir=True)
    def main(A: T.Buffer((64,), "float32", align=4), D: T.Buffer((64,), "float32", align=4)):
        for i in T.parallel(4):
            for v in T.vectorized(16):
                with T.sblock("copy"):
                    vi = T.axis.spatial(64, i * 16 + v)
                    T.reads(A[vi])
                    T.writes(D[vi])
                    D[vi] = T.max(A[vi], T.float32(0))
"""


def _parse(source: Source) -> Any:
    import tvm

    try:
        module = tvm.script.from_source(source.text)
    except Exception as error:
        raise BuildError(f"the script does not parse: {_reason(error)}") from None
    if not isinstance(module, tvm.IRModule) or source.entry not in {
        g.name_hint for g in module.get_global_vars()
    }:
        raise BuildError(f"the script has no module with a function {source.entry!r}")
    return module


def _compile(module: Any, target: dict[str, Any], path: Path) -> None:
    """Writes an object file."""
    import tvm

    try:
        with tvm.transform.PassContext(opt_level=3, config=dict(_CONFIG)):
            library = tvm.compile(module, target=tvm.target.Target(target))
        library.mod.write_to_file(str(path), "o")
    except Exception as error:
        raise BuildError(f"TVM cannot compile it: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """The line that says why, then all of it: TVM's messages begin with where in its own source."""
    text = str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    marked = [line for line in lines if "rror" in line] or lines or [type(error).__name__]
    return f"{marked[0]}\n{text[:20_000]}"
