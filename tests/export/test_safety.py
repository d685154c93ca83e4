"""The sentences of SECURITY.md on what is loaded and what is written, by their numbers there."""

import ast
import json
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

import tuner
from tests.processes import python_path
from tests.test_security import ROOT, WORKLOAD, forged
from tuner import registry
from tuner.core.cache import entry, is_whole
from tuner.core.digest import digest_files
from tuner.core.errors import TunerError, Unavailable
from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.stats import Interval
from tuner.core.trial import Trial
from tuner.core.workload import Workload
from tuner.devices.cpu.device import CpuDevice
from tuner.export.best import Best
from tuner.export.formats.listed import writers
from tuner.export.library.package import levels_of
from tuner.export.library.plan import make_plan
from tuner.export.verify import Holding, verify
from tuner.interchange.exported import read_entries
from tuner.store.records import BestRow, DeviceInfo, KernelInfo
from tuner.store.store import open_store

EVIL = ["*/ int EVIL; /*", '"\n#define EVIL 1\n"', "x')\nEVIL = 1\n('", "??/\nEVIL", "\\", "# EVIL"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def database(tmp_path: Path) -> str:
    """Somebody else's, with a configuration that is valid."""
    kernel = registry.kernel("cpp_tiled")
    forged(tmp_path / "r.db", kernel.name, dict(kernel.space(WORKLOAD, CpuDevice().target).at(0)))
    return str(tmp_path / "r.db")


def load(database: str) -> None:
    a, b = np.ones((48, 32), np.float32), np.ones((32, 40), np.float32)
    with warnings.catch_warnings(action="ignore"):
        kernel = tuner.load("gemm", m=48, n=40, k=32, db=database)
    np.testing.assert_allclose(kernel(a, b), a @ b)


def test_sentence_21(tmp_path: Path, cache: Path, database: str) -> None:
    """Neither a database nor a record in the cache names the file that is loaded."""
    spy = tmp_path / "spy.c"
    mark = tmp_path / "mark"
    spy.write_text(f'#include <stdio.h>\n__attribute__((constructor)) void f() {{ fopen("{mark}", "w"); }}')
    subprocess.run(["gcc", "-shared", "-fPIC", spy, "-o", tmp_path / "spy.so"], check=True)
    with open_store(database) as store:
        (trial,) = store.sweep_history(1)
        lie = Measurement(Status.OK, Evidence.MEASURED, (1e-13,), artifact=str(tmp_path / "spy.so"))
        store.add_trials(store.begin_sweep(store.sweep(1).spec), [Trial(trial.key, lie)])
    load(database)
    assert not mark.exists()
    (record,) = (cache / "kernels").glob("*/artifact.json")
    content = json.loads(record.read_text())
    for path in (str(tmp_path / "spy.so"), "../../../spy.so"):
        record.write_text(json.dumps({**content, "path": path}))
        manifest = json.loads((record.parent / "manifest.json").read_text())
        manifest["files"]["artifact.json"] = [record.stat().st_size, digest_files([record])]
        (record.parent / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(Unavailable, match="names a file outside of its folder"):
            load(database)
    assert not mark.exists()


def test_sentence_22(cache: Path, database: str) -> None:
    """Mode 0700 when it is made, closed again where it was only readable, refused where it was writable."""
    load(database)
    kernels = cache / "kernels"
    assert {p.stat().st_mode & 0o777 for p in (cache, kernels, *kernels.glob("*-*"))} == {0o700}
    kernels.chmod(0o755)
    load(database)
    assert kernels.stat().st_mode & 0o777 == 0o700
    kernels.chmod(0o777)
    with pytest.raises(Unavailable, match=r"others may write to folder .*kernels"):
        load(database)
    if os.geteuid() == 0:
        kernels.chmod(0o700)
        os.chown(kernels, 12345, -1)
        with pytest.raises(Unavailable, match="belongs to user 12345"):
            load(database)


@pytest.mark.parametrize("size", [100, 5 * 2**20])
def test_sentence_23(size: int, tmp_path: Path) -> None:
    """One changed byte of a library of any size, with its size and times as they were."""
    place = entry(tmp_path / "kept" / "one", lambda folder: _fill(folder / "kernel.so", size))
    assert is_whole(place)
    times = (place / "kernel.so").stat()
    with (place / "kernel.so").open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\x01")
    os.utime(place / "kernel.so", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert not is_whole(place)
    assert is_whole(entry(place, lambda folder: _fill(folder / "kernel.so", size)))


def _fill(path: Path, size: int) -> None:
    path.write_bytes(bytes(size))


def test_sentence_24(tmp_path: Path, cache: Path, database: str) -> None:
    """An audit hook sees every library that is opened by the program itself."""
    script = """
import sys
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "ctypes.dlopen" else None)
from tuner.cli import app
db, out = sys.argv[1:3]
for words in (["best"], ["show", "t1"], ["dispatch", "gemm"], ["export", "--best", out + "/b.json"],
              ["export", "--best", "--format", "c-header", out + "/b.h"], ["import", out + "/b.json"]):
    app([*words, "--db", db], standalone_mode=False)
print("OPENED", [name for name in opened if sys.argv[3] in name or "kernel" in name])
"""
    done = subprocess.run(
        [sys.executable, "-c", script, database, str(tmp_path), str(cache)], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": python_path(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "OPENED []" in done.stdout


def row(text: str, language: str) -> Best:
    """A row in which every text is hostile."""
    workload = Workload("gemm", "f32", (("m", 4),), (("kind", text),))
    return Best(
        BestRow(
            workload, DeviceInfo("fp", text, "cuda", "sm_80"), KernelInfo(text, text, language, "gemm"), 1,
            "warm", 1, 1, {"A": text, "num_warps": 4}, "cuda:sm_80", text, "measured", 1e-3,
            Interval(1e-3, 1e-3, 1e-3), False, datetime.now(UTC),
        ),
        (text, text),
    )  # fmt: skip


@pytest.mark.parametrize("text", EVIL)
def test_sentence_25(text: str, tmp_path: Path) -> None:
    """The header defines the names of its kind alone; the Python file is a list of calls with literals."""
    (header,) = writers()["c-header"]([row(text, "cxx")], tmp_path / "t.h")
    for standard in ("gnu17", "c99"):
        command = ["gcc", f"-std={standard}", "-Wall", "-Werror=comment", "-x", "c", str(header)]
        assert subprocess.run([*command, "-E", "-P"], capture_output=True, text=True, check=True).stdout == ""
        macros = subprocess.run([*command, "-E", "-dM"], capture_output=True, text=True, check=True).stdout
        assert not any(line.startswith("#define EVIL") for line in macros.splitlines())
    (python,) = writers()["triton-config"]([row(text, "triton")], tmp_path / "t.py")
    tree = ast.parse(python.read_text())
    assert [type(node) for node in tree.body] == [ast.Import, ast.Assign, ast.Assign, ast.Assign]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) == "triton.Config"
            for value in (*node.args, *(keyword.value for keyword in node.keywords)):
                ast.literal_eval(value)
    assert {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} == {
        "triton", "CONFIGS", "BY_WORKLOAD", "BY_SHAPE"
    }  # fmt: skip


def test_sentence_26(tmp_path: Path) -> None:
    """A kernel by a path, a value that is source text, a workload that is none."""
    good = {
        "workload": WORKLOAD.key, "kernel": "cpp_tiled", "config": {"TILE_M": 8}, "time_s": 1.0,
        "device_kind": "cpu",
    }  # fmt: skip
    bad = [
        {**good, "kernel": str(tmp_path / "evil.cpp")},
        {**good, "config": {"TILE_M": '8\n#include "/etc/passwd"'}},
        {**good, "workload": "gemm/f32/m48-n40-k32/alpha=x"},
        {**good, "device_kind": "../cpu"},
    ]
    file = tmp_path / "bad.json"
    for entry_ in bad:
        file.write_text(json.dumps({"format": "kernel-tuner-lab/library", "entries": [entry_]}))
        try:
            (verdict,) = verify(read_entries(file), 0.1)
        except TunerError:
            continue  # it is not even read
        assert verdict.mark is Holding.INVALID and verdict.time_s is None


def test_sentence_27(tmp_path: Path) -> None:
    """A value that no space lists is in no source."""
    device, kernel = CpuDevice(), registry.kernel("cpp_tiled")
    config = dict(kernel.space(WORKLOAD, device.target).at(0))
    name = next(iter(config))
    forged(tmp_path / "r.db", kernel.name, {**config, name: '8\n#include "/etc/passwd"'})
    with open_store(str(tmp_path / "r.db"), read_only=True) as store:
        assert store.best("gemm")
        with pytest.raises(TunerError, match="nothing of this is stored that a library can hold"):
            make_plan([WORKLOAD], device, store, levels_of(device))
        foreign = replace(WORKLOAD, options=(("alpha", "x"),))
        with pytest.raises(TunerError):
            make_plan([foreign], device, store, levels_of(device))
