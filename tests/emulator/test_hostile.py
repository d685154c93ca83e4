"""Files that mean harm, checked: each costs a bounded run of a child, and nothing of it stays."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.emulator.emulate import PLAIN, TARGET, only, run, source
from tests.processes import noted, python_path, wait_until
from tuner.core.contained import ISOLATED, Caps, run_contained
from tuner.core.errors import BuildError
from tuner.devices.emulator import check
from tuner.devices.emulator.check import check_source
from tuner.devices.emulator.device import EmulatedDevice

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="limits are watched on Linux only"
)

COPY = 'extern "C" __global__ void k(const float* a, float* c) { BODY c[threadIdx.x] = a[threadIdx.x]; }'
A = np.arange(32, dtype=np.float32)
TENSORS = {"a": A, "c": np.zeros_like(A)}
ROOT = Path(__file__).resolve().parents[2]
HUNGER = (
    "for (;;) { volatile char* p = (volatile char*)malloc(1 << 24);"
    " for (int i = 0; i < 1 << 24; i += 4096) p[i] = 1; }"
)
SPIN = "for (volatile int i = 0;; i = 0) {}"


def hostile(body: str, head: str = "#include <cstdlib>\n#include <cstdio>\n#include <unistd.h>\n") -> str:
    return head + COPY.replace("BODY", f"if (threadIdx.x == 0) {{ {body} }}")


def note(mark: Path) -> str:
    return f'{{ FILE* f = fopen("{mark}", "a"); fprintf(f, "%d ", (int)getpid()); fclose(f); }}'


@pytest.fixture(autouse=True)
def tight(monkeypatch):
    monkeypatch.setattr(check, "_OUTPUT_BYTES", 2**20)
    monkeypatch.setattr(check, "_MEMORY_BYTES", 300 * 2**20)


HARM = {
    "prints_without_end": ('for (;;) printf("garbage\\n");', "crash", "printed more than 1 MiB"),
    "prints_with_write": ('for (;;) write(2, "garbage", 7);', "crash", "printed more than 1 MiB"),
    "loops_without_end": (SPIN, "timeout", "no end after 2 s"),
    "sleeps": ("sleep(1000);", "timeout", "no end after 2 s"),
    "takes_all_memory": (
        "HUNGER",
        "crash", "0.293 GiB of memory",
    ),
    "forks_and_crashes": (
        f"if (!fork()) {{ NOTE {SPIN} }} usleep(50000); *(volatile int*)8 = 1;", "crash", "SIGSEGV",
    ),
    "forks_a_hungry_daemon": (
        "if (!fork()) { setsid(); if (fork()) _exit(0); NOTE HUNGER } sleep(1000);",
        "crash", "0.293 GiB of memory",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HARM)
def test_harm_is_one_finding(name, tmp_path):
    body, kind, words = HARM[name]
    mark = tmp_path / "pids"
    began = time.monotonic()
    result = run(
        hostile(body.replace("NOTE", note(mark)).replace("HUNGER", HUNGER)), TENSORS, ["c"], timeout_s=2.0
    )
    assert not result.completed
    assert words in only(result, kind).message or words in result.error
    assert time.monotonic() - began < 30
    assert noted(mark) == []


@pytest.mark.parametrize("how", ["fork", "daemon"])
def test_what_a_right_kernel_forks_ends_with_it(how, tmp_path):
    mark = tmp_path / "pids"
    away = "setsid(); if (fork()) _exit(0);" if how == "daemon" else ""
    text = hostile(f"if (!fork()) {{ {away} {note(mark)} {SPIN} }} usleep(100000);")
    assert run(text, TENSORS, ["c"], timeout_s=20.0).completed
    assert mark.exists() and noted(mark) == []


# Host code that loading would run: (before the kernel, the line of it).
CONSTRUCTORS = {
    "global_object": ("struct E { E() { RUN } };\n\nstatic E evil;\n", 1),
    "constructor": ("\n__attribute__((constructor)) void f() { RUN }\n", 2),
    "early_constructor": ("\n__attribute__((constructor(101))) void f() { RUN }\n", 2),
    "constructor_beside_the_sanitizers_own": ("\n__attribute__((constructor(99))) void f() { RUN }\n", 2),
    "destructor": ("\n__attribute__((destructor)) void f() { RUN }\n", 2),
    "init_array": (
        'static void h() { RUN }\n__attribute__((section(".init_array"), used)) static void (*p)() = h;\n',
        1,
    ),
    "ctors": (
        'static void h() { RUN }\n__attribute__((section(".ctors"), used)) static void (*p)() = h;\n', 1,
    ),
    "init_section": ('extern "C" __attribute__((section(".init"), used)) void f() { RUN }\n', 1),
    "indirect_function": (
        'extern "C" { static int q() { return 1; } static int (*res())() { RUN return q; }\n'
        'int late() __attribute__((ifunc("res"))); }\n', 1),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "sanitize"),
    [
        *((name, True) for name in CONSTRUCTORS),
        ("global_object", False),
        *(
            pytest.param(name, False, marks=pytest.mark.slow)
            for name in CONSTRUCTORS
            if name != "global_object"
        ),
    ],
)
def test_host_code_is_found_and_never_runs(name, sanitize, tmp_path):
    before, line = CONSTRUCTORS[name]
    ran = tmp_path / "ran"
    head = "#include <cstdlib>\n"
    text = head + before.replace("RUN", f'system("touch {ran}");') + COPY.replace("BODY", "")
    result = run(text, TENSORS, ["c"], sanitize=sanitize)
    assert not result.completed and not ran.exists()
    finding = only(result, "host_code")
    assert (finding.place.file, finding.place.line) == ("kernel.cu", line + 1)
    assert "would run as soon as the file is loaded" in finding.message


def test_a_library_with_host_code_is_not_loaded_into_this_process(tmp_path):
    text = CONSTRUCTORS["constructor"][0].replace("RUN", f'fopen("{tmp_path}/ran", "w");')
    made = source("#include <cstdio>\n" + text + COPY.replace("BODY", ""), TENSORS, {}, (1,), (32,))
    artifact = PLAIN.build(made, TARGET, tmp_path)
    with pytest.raises(RuntimeError, match="launch refused: host code"):
        EmulatedDevice(TARGET).load(artifact)
    assert not (tmp_path / "ran").exists()


def test_objects_without_code_are_fine():
    text = (
        "struct P { int x; constexpr P(int v) : x(v) {} };\n__device__ int table[4] = {1, 2, 3, 4};\n"
        "__constant__ float one = 1.f;\nstatic const P p(0);\nnamespace { constexpr int zero = 0; }\n"
    )
    body = "c[threadIdx.x] = table[0] * one + p.x + zero;"
    assert run(text + COPY.replace("BODY", body), TENSORS, ["c"], sanitize=True).clean


@pytest.mark.parametrize("harm", ["memory", "time"])
def test_a_compiler_that_does_not_end_is_a_build_error(harm, tmp_path, monkeypatch):
    caps = Caps(60.0, 400 * 2**20) if harm == "memory" else Caps(1.0, 2**32)
    monkeypatch.setattr(check, "_COMPILER", caps)
    # 2^40 tokens.
    bomb = "#define A0 int a;\n" + "".join(f"#define A{i + 1} A{i} A{i}\n" for i in range(40))
    text = f"{bomb}struct S {{ A40 }};\n"
    made = source(text + COPY.replace("BODY", ""), TENSORS, {}, (1,), (32,))
    with pytest.raises(BuildError, match="the compiler was ended: ") as caught:
        check_source(PLAIN, made, TARGET, TENSORS, ["c"])
    assert ("memory" if harm == "memory" else "no end after 1 s") in str(caught.value)


CHECK = """/*[tuner]
name = "mine"
operator = "gemm"
entry = "mine"
arguments = ["A", "B", "D", "m", "n", "k"]
[parameters]
T = [8]
[launch]
grid = ["1"]
block = ["T"]
*/
#include <unistd.h>
#include <cstdio>
extern "C" __global__ void mine(const float* A, const float* B, float* D, int m, int n, int k) { BODY }
"""


def start_check(folder: Path, body: str) -> subprocess.Popen:
    path = folder / "mine.cu"
    path.write_text(CHECK.replace("BODY", body))
    (folder / "temporary").mkdir()
    return subprocess.Popen(
        [sys.executable, "-m", "tuner", "check", str(path), "--shape", "8x8x8"], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder,
        env={**os.environ, "PYTHONPATH": python_path(ROOT), "TMPDIR": str(folder / "temporary")},
    )  # fmt: skip


@pytest.mark.parametrize(
    "name", ["SIGKILL", *(pytest.param(n, marks=pytest.mark.slow) for n in ("SIGINT", "SIGTERM", "SIGHUP"))]
)
def test_a_check_that_is_ended_leaves_nothing(name, tmp_path):
    mark = tmp_path / "pids"
    away = f"if (!threadIdx.x) {{ {note(mark)} if (!fork()) {{ setsid(); {note(mark)} {SPIN} }} {SPIN} }}"
    process = start_check(tmp_path, away)
    wait_until(mark.exists, 60, process)
    process.send_signal(getattr(signal, name))
    _, err = process.communicate(timeout=60)
    wanted = -signal.SIGKILL if name == "SIGKILL" else 128 + getattr(signal, name)
    assert process.returncode == wanted and "Traceback" not in err
    wait_until(lambda: not noted(mark), 20)
    left = [p.name for p in (tmp_path / "temporary").iterdir() if p.name.startswith("tuner-")]
    if name != "SIGKILL":
        assert left == []
    else:
        # Whoever makes the next folder removes those of the dead.
        from tuner.core import scratch

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
            with scratch.Scratch() as mine:
                assert [p.name for p in (tmp_path / "temporary").glob("tuner-*")] == [mine.name]


def test_a_check_that_prints_without_end_says_so(tmp_path):
    process = start_check(tmp_path, 'for (;;) printf("garbage garbage garbage garbage\\n");')
    out, err = process.communicate(timeout=100)
    assert process.returncode == 1, err
    assert "it printed more than 4 MiB" in out and len(out) < 2000


@pytest.mark.parametrize(
    ("command", "code", "passed"),
    [
        (["sh", "-c", "echo said; exit 3"], 3, ""), (["sh", "-c", "kill -11 $$"], -11, ""),
        (["sleep", "30"], -9, "time"), (["yes"], None, "output"), (["no such program"], 127, ""),
        ([*ISOLATED, "SCRIPT"], 1, ""),
    ],
)  # fmt: skip
def test_how_a_contained_program_ended(command, code, passed, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("print('said', flush=True)\nraise ValueError('said too')\n")
    command = [str(script) if word == "SCRIPT" else word for word in command]
    ended = run_contained(
        command, Caps(1.0 if passed == "time" else 20.0, output_bytes=2**16), tmp_path / "output"
    )
    assert ended.passed == passed
    assert code is None or ended.code == code
    assert (tmp_path / "output").stat().st_size <= 2**16
    if command[0] == ISOLATED[0]:
        assert ended.output.startswith("said\n") and "ValueError: said too" in ended.output
