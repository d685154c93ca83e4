"""Bad input: one line that names what is wrong and what would be right, exit code 2, nothing lost."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing

import pytest

from tests.in_process import run_here
from tuner.store.store import open_store


def tuner(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "tuner", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def refused(*arguments: str, run: Callable[..., subprocess.CompletedProcess] = run_here) -> str:
    """The error line of a command that must be refused."""
    done = run(*arguments)
    assert done.returncode == 2, (done.stdout, done.stderr)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    return lines[0]


SWEEP = ("sweep", "gemm", "--shape", "8x8x8")
TILED = (*SWEEP, "--kernel", "cpp_tiled")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sweep", "gem", "--shape", "8x8x8"), ["operator 'gem'", "'gemm'"]),
        ((*SWEEP, "--kernel", "cpp_pack"), ["cpp_pack", "cpp_packed"]),
        ((*SWEEP, "--searcher", "tpee"), ["searcher 'tpee'", "'tpe'"]),
        ((*SWEEP, "--dtype", "f64"), ["dtype", "'f64'", "f32"]),
        (("sweep", "gemm", "--shape", "0x4x4"), ["dimension m", "0"]),
        (("sweep", "gemm", "--shape", "4x4"), ["'4x4'", "mxnxk"]),
        (("sweep", "gemm", "--shape", "axbxc"), ["axbxc", "mxnxk"]),
        (("sweep", "gemm", "--shape", "-4x4x4"), ["dimension m", "-4"]),
        (("sweep", "gemm", "--shape", "999999x999999x999999"), ["does not fit in memory", "GiB"]),
        (("sweep", "gemm", "--shape", "m4 n4 k4 beta"), ["beta"]),
        ((*SWEEP, "--trials", "0"), ["--trials is a positive number", "not 0"]),
        ((*SWEEP, "--seconds", "-1"), ["--seconds is a positive number", "not -1"]),
        # Not what the class that refuses it calls it.
        ((*SWEEP, "--sustained", "nan"), ["--sustained is at least 0, not nan"]),
        ((*SWEEP, "--sustained=100"), ["--sustained is at most 15 s"]),
        ((*SWEEP, "--relative-interval", "0"), ["--relative-interval is a positive number, not 0"]),
        ((*SWEEP, "--rounds", "-1"), ["--rounds is a whole number from 0"]),
        (("compare", "experiments/gemm_demo.toml", "--trials", "0"), ["error: --trials is a positive"]),
        (("model", "compare", "nowhere.onnx"), ["nowhere.onnx: there is no such file"]),
        ((*SWEEP, "--threads", "4096"), ["--threads is at most", "cores", "not 4096"]),
        ((*SWEEP, "--cache", "hot"), ["'warm', 'cold' or 'model'", "'hot'"]),
        ((*SWEEP, "--between", "64"), ["error: --between is of --cache model: give that too"]),
        ((*SWEEP, "--frobnicate"), ["--frobnicate"]),
        (("sweep", "gemm"), ["--shape", "--workloads"]),
        (("sweep",), ["operator", "--shape", "--workloads"]),
        (("sweep", "--workloads", "resnet5"), ["workload set 'resnet5'", "'resnet50'"]),
        (("sweep", "gemm", "--workloads", "resnet50"), ["no gemm in resnet50"]),
        ((*SWEEP, "--workloads", "resnet50"), ["--workloads is in place of --shape"]),
        (("sweep", "--workloads", "bert-base", "--kernel", "conv_naive"), ["conv_naive", "gemm"]),
        (("sweep", "conv2d", "--shape", "n1 c6 h8 w8 k8 r3 s3 groups4"), ["groups 4", "c 6"]),
        (("sweep", "conv2d", "--shape", "n1 c4 h4 w4 k4 r7 s7 pad1"), ["7", "pad"]),
        (("sweep", "attention", "--shape", "b1 h6 q8 kv8 d16 kv_heads4"), ["kv_heads", "6"]),
        (("sweep", "attention", "--shape", "b1 h2 q8 kv0 d16"), ["dimension kv", "0"]),
        (("sweep", "attention", "--shape", "b1 h2 q8 kv8 d0"), ["dimension d", "0"]),
        ((*SWEEP, "--give-up-after", "0"), ["--give-up-after is", "not 0"]),
        # Were noticed after everything was measured, in a remark.
        ((*SWEEP, "--default", "cpp_tiled:TILE_M=999"), ["default of cpp_tiled", "missing parameter"]),
        ((*SWEEP, "--default", "numpy:A=1"), ["no default for numpy", "cpp_tiled"]),
        (
            (*TILED, "--config", "TILE_M=5"),
            ["cpp_tiled at gemm/f32/m8-n8-k8: TILE_M=5", "5 is not one of [4,"],
        ),
        ((*TILED, "--config", "TILE_X=5"), ["unknown parameter TILE_X", "TILE_M, TILE_N"]),
        ((*TILED, "--config", "TILE_M"), ["'TILE_M' is not NAME=VALUE"]),
        ((*SWEEP, "--config", "TILE_M=4"), ["--config 1 is of no kernel", "KERNEL:P=V"]),
        ((*SWEEP, "--config", "cpp_tild:TILE_M=4"), ["did you mean 'cpp_tiled'"]),
        ((*TILED, "--config", "cpp_naive:"), ["--config 1 is of cpp_naive", "cpp_tiled"]),
        ((*TILED, "--kernel", "cpp_naive", "--config", "cpp_tiled:TILE_M=4"), ["cpp_naive is named"]),
        ((*TILED, "--configs", "nowhere.json"), ["nowhere.json does not exist"]),
        ((*TILED, "--config", '{"TILE_M":4,"TILE_M":8}'), ["has the key 'TILE_M' twice"]),
        ((*TILED, "--config", '{"TILE_M":' + "9" * 5000 + "}"), ["has a number of too many digits"]),
        ((*TILED, "--config", "X" * 9000 + "=8"), ["unknown parameter XX", "the parameters are"]),
        (
            (*TILED, "--config", "TILE_M=4", "--config", "TILE_M=8", "--trials", "1"),
            ["--trials is at least 2"],
        ),
        ((*TILED, "--config", "TILE_M=4", "--searcher", "genetic"), ["--searcher genetic", "--trials"]),
        ((*TILED, "--config", "TILE_M=4", "--give-up-after", "1"), ["all measured"]),
        (("sweep", "--workloads", "bert-base", "--config", "cpp_tiled:TILE_M=4"), ["give --shape"]),
        (("frobnicate",), ["frobnicate"]),
        # Was taken for f32.
        (("kernels", "gemm", "--dtype", "f31"), ["dtype of gemm", "'f32'"]),
        (("kernels", "--dtype", "f31"), ["unknown dtype 'f31'", "'f32'"]),
        (("show", "x9"), ["'x9'", "t42", "s3"]),
        (("best", "--shape", "8x8x8"), ["operator"]),
        (("compare", "nowhere.toml"), ["nowhere.toml"]),
    ],
)
def test_one_line_and_exit_code_2(arguments, words):
    line = refused(*arguments)
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    "arguments", [("sweep", "gem", "--shape", "8x8x8"), ("frobnicate",), (*SWEEP, "--seconds")]
)
def test_a_process_of_its_own_says_the_same(arguments):
    assert refused(*arguments, run=tuner) == refused(*arguments)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('operator = "gemm"\nshapes = ["8x8x8"]\nsercher = "tpe"', ["sercher", "searcher"]),
        ('operator = "gemm"', ["missing key 'shapes'"]),
        ('operator = "gemm"\nshapes = "8x8x8"', ["shapes", "list"]),
        ('operator = "gemm"\nshapes = ["8x8"]', ["'8x8'"]),
        ('operator = "gemm"\nshapes = ["8x8x8"]\n[budget]\ntrails = 5', ["trails", "trials"]),
        ('operator = "gemm"\nshapes = ["8x8x8"]\nkernels = ["cpp_pack"]', ["cpp_pack", "cpp_packed"]),
        ("operator = ", ["not a TOML file"]),
        ('operator = "gemm"\nshapes = ["8x8x8"]\ntitle = "a\\nb"', ["title is one line"]),
        ('operator = "gemm"\nshapes = ["8x8x8"]\nthreads = [1, 1]', ["threads has 1 twice"]),
        ('operator = "gemm"\nshapes = ["8x8x8"]\ndtypes = ["f32", "f32"]', ["dtypes has 'f32' twice"]),
    ],
)
def test_experiment_files(tmp_path, text, words):
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    line = refused("compare", str(path))
    assert "wrong.toml" in line
    for word in words:
        assert word in line


def test_databases(tmp_path):
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"this is not a database at all" * 100)
    assert "garbage.db" in refused("best", "--db", str(garbage))
    assert garbage.read_bytes().startswith(b"this is not")
    assert "missing.db" in refused("best", "--db", str(tmp_path / "missing.db"))
    assert "nowhere" in refused(*SWEEP, "--db", str(tmp_path / "nowhere" / "x.db"))
    assert "nosuch" in refused("best", "--db", "nosuch://host/db")


def test_database_of_a_newer_version_is_left_alone(tmp_path):
    path = tmp_path / "newer.db"
    with open_store(str(path)):
        pass
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        before = list(connection.iterdump())
    line = refused("best", "--db", str(path))
    assert "newer" in line and "newer.db" in line
    with closing(sqlite3.connect(path)) as connection:
        assert list(connection.iterdump()) == before


def test_read_only_database_answers_but_is_not_written(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write a read-only file")
    path = tmp_path / "frozen.db"
    sweep = ("sweep", "gemm", "--shape", "8x8x8", "--kernel", "cpp_naive", "--no-baselines", "--searcher",
             "random", "--rounds", "0", "--db", str(path))  # fmt: skip
    assert tuner(*sweep).returncode == 0
    path.chmod(0o444)
    assert tuner("best", "--db", str(path)).returncode == 0
    assert "read-only" in refused(*sweep)


def test_a_library_of_an_operator_that_was_never_swept_is_refused(tmp_path) -> None:
    db, folder = tmp_path / "results.db", tmp_path / "library"
    with open_store(str(db)):
        pass
    said = refused("export", "--library", str(folder), "attention", "--db", str(db))
    assert said == "error: nothing of attention is stored here: run 'tuner sweep attention' first"
    assert not folder.exists()


def test_the_version_is_said() -> None:
    from tuner import __version__

    done = run_here("--version")
    assert (done.returncode, done.stdout.strip()) == (0, __version__)
