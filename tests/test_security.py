"""Each numbered sentence of SECURITY.md, by what it says; `claim` quotes its beginning."""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tuner as library
from tests.processes import python_path
from tuner import registry
from tuner.core import host_cxx
from tuner.core.cache import cache_folder
from tuner.core.errors import InvalidConfig, InvalidSpace, TunerError, Unavailable, UnknownName
from tuner.core.expression import parse
from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.trace_space import UNSCHEDULED
from tuner.core.trial import Trial, TrialKey
from tuner.core.workload import Workload
from tuner.devices.cpu.device import CpuDevice
from tuner.engine.building import build_process
from tuner.engine.program.load import choose
from tuner.engine.recorded.traces import export_traces
from tuner.engine.tuning.campaign import default_protocol
from tuner.engine.tuning.experiment import read_experiment
from tuner.store.records import DeviceInfo, KernelInfo, SweepSpec
from tuner.store.store import open_store
from tuner.targets import cuda

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "SECURITY.md").read_text()
_NUMBERED = re.compile(r"^(\d+)\. (.*?)(?=^\d+\. |^$)", re.MULTILINE | re.DOTALL)
SENTENCES = {int(number): " ".join(text.split()) for number, text in _NUMBERED.findall(PAGE)}
HELD: set[int] = set()
ELSEWHERE = {  # sentences that other files test
    3: ("tests/core/test_host_cxx.py", "test_what_is_no_compiler_is_refused_by_name"),
    7: ("tests/core/test_trace_rules.py", "test_what_no_rule_makes_is_refused_and_named"),
    9: ("tests/interchange/test_hostile.py", "test_a_pickle_is_never_loaded"),
    10: ("tests/core/test_expression.py", "test_what_is_outside_the_subset_is_refused_in_one_short_line"),
    16: ("tests/engine/test_misbehaviour.py", "test_costs_one_trial_and_says_why"),
    18: ("tests/engine/test_cheats.py", "test_a_cheat_is_refused"),
    19: ("tests/emulator/test_hostile.py", "test_host_code_is_found_and_never_runs"),
    20: ("tests/engine/test_locks.py", "test_what_is_planted_in_the_common_folder_is_not_followed_and_said"),
    28: ("tests/engine/test_verification.py", "test_a_file_of_somebody_else_runs_nothing_of_its_own"),
    29: ("tests/report/test_shell.py", "test_a_hostile_name_does_not_become_a_script"),
    30: ("tests/serve/test_database.py", "test_nothing_can_be_written_through_it"),
    31: ("tests/serve/test_guard.py", "test_another_name_is_refused"),
    32: ("tests/model/serving/test_protocol.py", "test_a_hostile_body_is_refused"),
    **{n: ("tests/export/test_safety.py", f"test_sentence_{n}") for n in range(21, 28)},
}


def claim(number: int, begins: str) -> Callable[[Any], Any]:
    """Marks the test of a sentence; the quotation says which one, and fails where the page says another."""
    assert SENTENCES[number].startswith(begins), SENTENCES[number]
    HELD.add(number)
    return lambda test: test


GEMM = registry.operator("gemm")
WORKLOAD = GEMM.parse("48x40x32")
MARK = "tuner_security_mark"


def run(words: list[str], folder: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    own = {"PYTHONPATH": python_path(ROOT), "TUNER_DB": str(folder / "r.db")}
    environment = os.environ | own | variables
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=170
    )


def forged(
    path: Path, kernel: str, config: dict[str, Any], workload: Workload = WORKLOAD, **more: Any
) -> Trial:
    """A database as somebody else may send it: one trial, of this very machine, faster than anything."""
    device = CpuDevice()
    protocol = default_protocol(device)
    known = registry.kernels().get(kernel)
    info = KernelInfo.of(known) if known else KernelInfo(kernel, "0" * 16, "cxx", workload.operator)
    info = replace(info, **more)
    key = TrialKey(
        workload, kernel, info.digest, config, device.target.name, "t", device.fingerprint, protocol.digest
    )
    spec = SweepSpec(
        workload, DeviceInfo.of(device), info, device.target.name, "random", 0, protocol, {}, "forged"
    )
    with open_store(str(path)) as store:
        sweep = store.begin_sweep(spec)
        store.add_trials(
            sweep, [Trial(key, Measurement(Status.OK, Evidence.MEASURED, samples=(1e-12, 1e-12, 1e-12)))]
        )
        store.finish_sweep(sweep, "finished", {})
    return Trial(key, Measurement(Status.OK, Evidence.MEASURED, samples=(1e-12,)))


def test_each_sentence_has_a_test() -> None:
    assert sorted(SENTENCES) == list(range(1, len(SENTENCES) + 1))
    assert HELD | ELSEWHERE.keys() == set(SENTENCES)
    for file, name in ELSEWHERE.values():
        assert f"def {name}(" in (ROOT / file).read_text()


@claim(1, "A Python file in a folder that `TUNER_PLUGINS` names runs")
def test_python_plug_ins_run_when_kernels_are_looked_for(tmp_path: Path) -> None:
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "plug.py").write_text(f"open({str(tmp_path / MARK)!r}, 'w')")
    assert run(["-m", "tuner", "kernels", "gemm"], tmp_path).returncode == 0
    assert not (tmp_path / MARK).exists()
    assert run(["-m", "tuner", "kernels", "gemm"], tmp_path, TUNER_PLUGINS=str(plugins)).returncode == 0
    assert (tmp_path / MARK).exists()


SPY = """/*[tuner]
name = "spy"
operator = "gemm"
entry = "gemm"
arguments = ["A", "B", "D", "m", "n", "k"]
*/
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>
static void note(const char* what) {{
    if (FILE* file = fopen("{log}", "a")) {{ fprintf(file, "%s %d\\n", what, (int)getpid()); fclose(file); }}
}}
__attribute__((constructor)) static void loaded() {{ note("loaded"); }}
extern "C" void gemm(const float* A, const float* B, float* D, int64_t m, int64_t n, int64_t k) {{
    static bool noted = false;
    if (!noted) note("called"), noted = true;
    for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j) {{
            float sum = 0;
            for (int64_t p = 0; p < k; ++p) sum += A[i * k + p] * B[p * n + j];
            D[i * n + j] = sum;
        }}
}}
"""
# A sweep's own steps, without the peaks that it measures first.
MEASURE_AND_LOAD = """
import json, os, numpy, tuner
from pathlib import Path
from tests.test_security import forged
from tuner import registry
from tuner.core.protocol import Protocol
from tuner.devices.cpu.device import CpuDevice
from tuner.engine.candidate.workshop import Workshop
log = Path(os.environ["SPY_LOG"])
def pids():
    return [int(line.split()[1]) for line in log.read_text().splitlines()] if log.exists() else []
kernel, gemm = registry.kernel("spy"), registry.operator("gemm")
workload, listed = gemm.parse("8x8x8"), pids()
with Workshop(CpuDevice(), Protocol(threads=1, budget_s=0.02), 1) as workshop:
    workshop.prepare(gemm, workload)
    outcome = workshop.measure(workload, workshop.build(kernel, workload, {}), None, None)
assert outcome.ok, outcome.error
swept = pids()
forged(Path(os.environ["TUNER_DB"]), "spy", {}, workload)
tuner.load("gemm", m=8, n=8, k=8)(numpy.ones((8, 8), "f"), numpy.ones((8, 8), "f"))
print(json.dumps([os.getpid(), listed, swept, pids()[len(swept):]]))
"""


@claim(2, "A C++ or CUDA file there is only read when kernels are listed; it runs when it is tuned")
@claim(14, "In a sweep each candidate is built and run in a process of its own, not in yours.")
@claim(15, "It is native code with your rights, in no sandbox: it may read and write your files")
@claim(17, "`tuner.load` runs the kernel in your own process, without limits.")
def test_where_a_kernel_runs(tmp_path: Path) -> None:
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    log = tmp_path / "log"
    (plugins / "spy.cpp").write_text(SPY.format(log=log))
    done = run(
        ["-c", MEASURE_AND_LOAD], tmp_path, TUNER_PLUGINS=str(plugins), SPY_LOG=str(log),
        TUNER_CACHE=str(tmp_path / "cache"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    own, listed, swept, loaded = json.loads(done.stdout.splitlines()[-1])
    assert listed == []
    assert swept and own not in swept, "it wrote to a file of ours, from another process"
    assert set(loaded) == {own}


@claim(3, "`$CXX` is run as a program, with its arguments; nothing else is taken in its place.")
def test_cxx_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "cxx"
    program.write_text(f"#!/bin/sh\ntouch '{tmp_path / MARK}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("CXX", str(program))
    host_cxx.forget_compiler()
    try:
        assert host_cxx.find_compiler() is None
    finally:
        monkeypatch.undo()
        host_cxx.forget_compiler()
    assert (tmp_path / MARK).exists()


@claim(
    4, "What the cache folder holds is run: it is made for you alone, and refused if it is somebody else's"
)
def test_the_cache_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a" / "cache"
    monkeypatch.setenv("TUNER_CACHE", str(folder))
    before = os.umask(0)
    try:
        assert cache_folder() == folder
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    assert cache_folder() == folder
    folder.chmod(0o757)
    with pytest.raises(Unavailable, match=r"others may write to folder .*: set TUNER_CACHE"):
        cache_folder()
    folder.chmod(0o700)
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(Unavailable, match=r"belongs to user .*: set TUNER_CACHE"):
        cache_folder()


@claim(5, "Names in them (of operators, kernels, searchers, devices) are looked up among what is registered")
@pytest.mark.parametrize("name", ["os:system", "../evil", "antigravity", "schedules.gemm.tensorir", "x; id"])
def test_names_are_looked_up_and_not_imported(name: str, tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    forged(path, name, {}, language="python")
    before = set(sys.modules)
    with pytest.raises(Unavailable, match="nothing stored of any kernel"):
        library.load("gemm", m=48, n=40, k=32, db=str(path))
    experiment = tmp_path / "x.toml"
    for key in ("operator", "searcher"):
        fields = {"operator": "gemm", "searcher": "random", key: name}
        lines = [f'{k} = "{v}"' for k, v in fields.items()]
        experiment.write_text("\n".join([*lines, 'shapes = ["8x8x8"]']))
        with pytest.raises(TunerError):
            read_experiment(experiment)
    experiment.write_text(f'operator = "gemm"\nshapes = ["8x8x8"]\nkernels = ["{name}"]')
    with pytest.raises(TunerError, match="unknown kernel"):
        read_experiment(experiment)
    for kind in (registry.operator, registry.builder, registry.searcher, registry.kernel):
        with pytest.raises(UnknownName):
            kind(name)
    assert "antigravity" not in sys.modules and not {m for m in sys.modules.keys() - before if "evil" in m}


TARGETS = {"cpu": CpuDevice().target, "cuda": cuda.target("cuda:sm_80")}
TUNED = [k for k in registry.kernels().values() if not k.baseline]


def servable(kernel: Any) -> Workload | None:
    operator, target = registry.operator(kernel.operator), TARGETS[kernel.target_kinds[0]]
    example = operator.parse(operator.example, kernel.dtypes[0])
    shapes = [example, *operator.companions(example)]
    return next((w for w in shapes if kernel.unsupported(w, target) is None), None)


@claim(6, "A configuration becomes source text only if its kernel's own search space lists every value of it")
@pytest.mark.parametrize("kernel", TUNED, ids=lambda k: k.name)
def test_a_value_that_the_space_does_not_list_is_never_lowered(
    kernel: Any, tmp_path: Path, monkeypatch
) -> None:
    import random

    workload = servable(kernel)
    if workload is None:
        pytest.skip("it cannot serve its operator's example")
    target = TARGETS[kernel.target_kinds[0]]
    space = kernel.space(workload, target)
    good = dict(space.default or space.sample(random.Random(3)))
    texts = ['4\n#include "/etc/passwd"', "4); __import__('os').system('id')  #", "4'", ""]
    hostile = [{**good, name: text} for name in good for text in texts]
    hostile += [{**good, "EXTRA": "x"}, {**good, 'X\n#include "y"': 1}, *([{}] if good else [])]
    monkeypatch.setattr(type(kernel), "lower", lambda *_: pytest.fail("it was lowered"))
    for config in hostile:
        with pytest.raises(InvalidConfig):
            space.check(config)
        # As the sweep, its final and whatever resumes it build: in a child, from a request.
        request = {"workloads": [workload.key], "config": config, "folder": str(tmp_path / "build")}
        assert build_process._build(kernel, target, request)["status"] == "infeasible"
        if not kernel.searcher:
            with pytest.raises((InvalidConfig, InvalidSpace)):
                space.nearest(config)


@claim(6, "A configuration becomes source text only if its kernel's own search space lists every value of it")
def test_load_serves_no_value_that_is_not_listed(tmp_path: Path) -> None:
    space = registry.kernel("cpp_tiled").space(WORKLOAD, CpuDevice().target)
    name = space.names[0]
    path = tmp_path / "r.db"
    forged(path, "cpp_tiled", {**space.at(0), name: f'{space.at(0)[name]}\n#include "/dev/zero"'})
    with pytest.raises(Unavailable, match="nothing stored of any kernel"):
        library.load("gemm", m=48, n=40, k=32, db=str(path))


ASSEMBLY = '"define void @evil() { ret void }"'
HOSTILE_TRACE = json.dumps(
    [[["GetSBlock", [], ["multiply", "main"], ["b0"]],
      ["Annotate", ["b0", ASSEMBLY], ["pragma_import_llvm"], []]], []]
)  # fmt: skip


@claim(
    7, "A schedule of MetaSchedule (a trace) reaches TVM only if all its instructions, annotations and values"
)
def test_a_foreign_trace_with_assembly_is_not_loaded_built_or_imported(tmp_path: Path) -> None:
    kernel = registry.kernel("tir_metaschedule")
    forged(tmp_path / "r.db", kernel.name, {"trace": HOSTILE_TRACE})
    with pytest.raises(Unavailable, match="nothing stored of any kernel"):
        library.load("gemm", m=48, n=40, k=32, db=str(tmp_path / "r.db"))
    target = CpuDevice().target
    request = {"workloads": [WORKLOAD.key], "config": {"trace": HOSTILE_TRACE}, "folder": str(tmp_path / "b")}
    answer = build_process._build(kernel, target, request)
    assert answer["status"] == "infeasible" and "pragma_import_llvm" in answer["error"]
    record = [0, [json.loads(HOSTILE_TRACE), [1e-3], {"kind": "llvm"}, [["TENSOR", "float32", [4, 4]]] * 3]]
    folder = tmp_path / "database"
    folder.mkdir()
    (folder / "database_workload.json").write_text('["-123", "AAAA"]\n')
    (folder / "database_tuning_record.json").write_text(json.dumps(record) + "\n")
    done = run(["-m", "tuner", "import", str(folder)], tmp_path)
    assert done.returncode == 2 and "pragma_import_llvm" in done.stderr and "line 1" in done.stderr
    shown = run(
        ["-m", "tuner", "inspect", kernel.name, "--shape", "48x40x32", "--config", f"trace={HOSTILE_TRACE}"],
        tmp_path,
    )
    assert shown.returncode == 2 and "Traceback" not in shown.stderr


@claim(8, "A stored workload is checked by its operator before a program is written with its numbers.")
@pytest.mark.parametrize(
    "option", [("alpha", "x), __import__('os').system('id')"), ("batch", "2"), ("evil", True)]
)
def test_a_program_is_written_for_checked_workloads_only(option: tuple[str, Any], tmp_path: Path) -> None:
    workload = replace(WORKLOAD, options=(option,))
    forged(tmp_path / "r.db", "tir_metaschedule", {"trace": UNSCHEDULED}, workload)
    with open_store(str(tmp_path / "r.db")) as store, pytest.raises(TunerError, match="is none of gemm"):
        export_traces(store, tmp_path / "out", workload.key)


_ENGINE = ("experiment", "history", "verification")
_OTHERS = ("recorded/exchange", "recorded/traces", "program/load", *(f"tuning/{name}" for name in _ENGINE))
READERS = [
    path for folder in ("store", "interchange", "report") for path in (ROOT / "tuner" / folder).rglob("*.py")
] + [ROOT / "tuner" / "engine" / f"{name}.py" for name in _OTHERS]


@claim(9, "No file is unpickled, and none of the readers evaluates text as Python.")
def test_readers_of_data_import_and_call_nothing_that_runs_it() -> None:
    for path in READERS:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {"pickle", "marshal", "shelve", "dill", "cloudpickle", "yaml", "runpy"} & {
                name.split(".")[0] for name in names
            }, path
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
                called = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
                plain = isinstance(node.func, ast.Name) or called == "import_module"
                assert not (plain and called in ("eval", "exec", "compile", "__import__", "import_module")), (
                    path
                )


@claim(10, "Constraints and other expressions are arithmetic in a language of their own")
@pytest.mark.parametrize(
    "text", ["system(1)", "().__class__", "x.real", "[c for c in x]", "lambda: 1", "__import__"]
)
def test_expressions_reach_nothing(text: str) -> None:
    with pytest.raises(InvalidSpace):
        parse(text)({"x": 1})


@claim(11, "An experiment file writes below the working folder only.")
@pytest.mark.parametrize("output", ["/tmp/elsewhere", "../up", "results/../../up"])
def test_an_experiment_chooses_no_folder_elsewhere(output: str, tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    lines = 'operator = "gemm"\nshapes = ["8x8x8"]\noutput = '
    path.write_text(f'{lines}"{output}"')
    with pytest.raises(TunerError, match="below the working folder"):
        read_experiment(path)
    path.write_text(f'{lines}"results/mine"')
    assert read_experiment(path).output == "results/mine"


@claim(12, "A made-up time in a database looks like a measured one, and `tuner.load` believes it")
@claim(13, "A schedule of somebody else's is not verified when it is loaded")
def test_a_made_up_time_is_believed(tmp_path: Path) -> None:
    device, kernel = CpuDevice(), registry.kernel("cpp_tiled")
    config = kernel.space(WORKLOAD, device.target).at(0)
    forged(tmp_path / "r.db", kernel.name, dict(config))
    with open_store(str(tmp_path / "r.db")) as store:
        rows = store.best("gemm")
    row, chosen, used, note = choose(WORKLOAD, rows, device, None)
    assert (row.time_s, chosen.name, used, note) == (1e-12, kernel.name, config, "")
