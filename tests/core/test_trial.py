"""Identities: whatever could change a result makes another trial, and nothing else does."""

import json
import math
import subprocess
import sys
from dataclasses import fields, replace

import pytest

from tuner.core.artifact import Toolchain
from tuner.core.digest import canonical_json, digest, digest_files
from tuner.core.errors import TunerError, UnknownName
from tuner.core.protocol import Protocol
from tuner.core.target import Target
from tuner.core.trial import TrialKey
from tuner.core.workload import Workload

WORKLOAD = Workload("gemm", "f32", (("m", 8), ("n", 8), ("k", 8)))
KEY = TrialKey(
    WORKLOAD, "cpp_packed", "0123", {"MC": 64, "ORDER": "ijk"}, "cpu:avx2", "abcd", "ryzen", "warm"
)
OTHERS = {
    "workload": replace(WORKLOAD, options=(("relu", True),)),
    "kernel": "cpp_naive",
    "kernel_digest": "0124",
    "config": {"MC": 64, "ORDER": "jik"},
    "target": "cpu:avx512",
    "toolchain": "abce",
    "device": "epyc",
    "protocol": "cold",
}


def test_every_field_is_changed_below():
    assert OTHERS.keys() == {f.name for f in fields(TrialKey)}


@pytest.mark.parametrize("field", OTHERS)
def test_a_trial_with_any_other_field_is_another_trial(field):
    assert replace(KEY, **{field: OTHERS[field]}).digest != KEY.digest


@pytest.mark.parametrize("value", [64.5, True, "64", 65, 1])
def test_values_of_other_types_are_other_trials(value):
    config = replace(KEY, config={"MC": value, "ORDER": "ijk"})
    assert config.digest != KEY.digest
    assert replace(KEY, config={"MC": 1, "ORDER": "ijk"}).digest != replace(
        KEY, config={"MC": True, "ORDER": "ijk"}
    ).digest  # fmt: skip


def test_the_order_of_parameters_does_not_count():
    assert replace(KEY, config={"ORDER": "ijk", "MC": 64}).digest == KEY.digest


def test_text_cannot_move_between_fields():
    moved = replace(KEY, target="cpu:avx2abcd", toolchain="")
    assert moved.digest != replace(KEY, target="cpu:avx2", toolchain="abcd").digest


def test_the_identity_is_the_same_in_another_process():
    code = (
        "from tuner.core.trial import TrialKey; from tuner.core.workload import Workload;"
        "print(TrialKey(Workload('gemm', 'f32', (('m', 8), ('n', 8), ('k', 8))), 'cpp_packed', '0123',"
        "{'MC': 64, 'ORDER': 'ijk'}, 'cpu:avx2', 'abcd', 'ryzen', 'warm').digest)"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONHASHSEED": "77"}
    )
    assert other.stdout.strip() == KEY.digest, other.stderr


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"threads": 2}, False),
        ({"cache": "cold"}, False),
        ({"cache": "model", "between_bytes": 2**25}, False),
        ({"warmup": 5}, False),
        ({"min_sample_s": 1e-3}, False),
        ({"sustained_s": 2.0}, False),
        ({"clock_mhz": 1410}, False),
        ({"timer": "triton.testing.do_bench"}, False),
        ({"relative_interval": 0.5}, True),
        ({"min_samples": 3}, True),
        ({"max_samples": 9}, True),
        ({"budget_s": 9.0}, True),
        ({"prune_factor": 0.0}, True),
        ({"build_timeout_s": 9.0}, True),
        ({"run_timeout_s": 9.0}, True),
        ({"memory_bytes": 2**20}, True),
    ],
)
def test_the_protocol_digest_moves_with_what_a_time_means(change, same):
    assert (replace(Protocol(), **change).digest == Protocol().digest) == same


def test_what_passes_between_calls_is_part_of_what_a_time_means():
    model = Protocol(cache="model")
    assert len({p.digest for p in (Protocol(), model, replace(model, between_bytes=2**25))}) == 3


def test_every_field_of_the_protocol_is_decided_above():
    marks = test_the_protocol_digest_moves_with_what_a_time_means.pytestmark
    decided = {name for change, _ in marks[0].args[1] for name in change}
    assert decided == {f.name for f in fields(Protocol)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cache": "hot"}, "cache is 'warm', 'cold' or 'model', not 'hot'"),
        ({"threads": 0}, "threads is at least 1, not 0"),
        ({"max_samples": 0}, "max_samples is at least 1"),
        ({"min_samples": 9, "max_samples": 8}, "min_samples is at most max_samples 8, not 9"),
        ({"relative_interval": 0.0}, "relative_interval is a positive number"),
        ({"run_timeout_s": math.nan}, "run_timeout_s is a positive number, not nan"),
        ({"build_timeout_s": -1.0}, "build_timeout_s is a positive number"),
        ({"budget_s": math.nan}, "budget_s is at least 0"),
        ({"prune_factor": -1.0}, "prune_factor is at least 0"),
        ({"warmup": -1}, "warmup is at least 0"),
        ({"between_bytes": 1}, "between_bytes is 0 where the cache is 'warm', not 1"),
    ],
)
def test_an_impossible_protocol_is_refused(change, message):
    with pytest.raises(TunerError, match=message):
        Protocol(**change)


def test_a_protocol_is_stored_as_plain_values_and_read_back():
    protocol = Protocol(threads=2, cache="cold", budget_s=1.5)
    stored = json.loads(json.dumps(protocol.as_dict()))
    assert Protocol.from_dict(stored) == protocol
    assert Protocol.from_dict({**stored, "of_a_newer_version": 1}) == protocol


def test_digests_do_not_depend_on_the_order_of_keys_and_refuse_nan():
    assert digest({"a": 1, "b": [1, "x"]}) == digest({"b": [1, "x"], "a": 1})
    assert canonical_json({"b": 1, "a": "é"}) == '{"a":"\\u00e9","b":1}'
    with pytest.raises(ValueError):
        digest([math.nan])


def test_a_digest_of_files_is_of_their_contents(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"ab")
    two.write_bytes(b"c")
    before = digest_files([one, two])
    assert digest_files([two, one]) != before
    one.rename(tmp_path / "renamed")
    assert digest_files([tmp_path / "renamed", two]) == before
    # The same bytes divided otherwise are other files.
    (tmp_path / "renamed").write_bytes(b"a")
    two.write_bytes(b"bc")
    assert digest_files([tmp_path / "renamed", two]) != before


def test_a_toolchain_is_its_name_version_and_flags():
    gcc = Toolchain("g++", "12.2.0", ("-O3",))
    others = [replace(gcc, name="clang++"), replace(gcc, version="13.1"), replace(gcc, flags=("-O2",))]
    assert len({gcc.digest, *(t.digest for t in others)}) == 4
    assert gcc.digest == Toolchain("g++", "12.2.0", ("-O3",)).digest


def test_a_target_names_the_limits_it_has():
    target = Target("cuda", "sm_90", limits={"shared_bytes": 232448, "registers": 65536})
    assert str(target) == target.name == "cuda:sm_90" and target.limit("registers") == 65536
    with pytest.raises(UnknownName, match="limit of target cuda:sm_90 'register': did you mean 'registers'"):
        target.limit("register")
    assert hash(target) == hash(Target("cuda", "sm_90"))
