"""Configurations from files: plain ones, records of the lab, and what is neither."""

import json
from pathlib import Path
from typing import Any

import pytest

from tuner.core.errors import TunerError
from tuner.interchange import _reading, named_configs
from tuner.interchange.named_configs import NamedConfig, read_named

A, B = {"TILE": 8, "UNROLL": True}, {"TILE": 16, "UNROLL": False}
KEY = "gemm/f32/m8-n8-k8"
# As `tuner best --json` prints it, with what is of no interest here.
RECORD = {"workload": KEY, "kernel": "k", "config": A, "time_s": 1e-3, "interval_s": [1e-3, 1e-3, 2e-3]}


def read(folder: Path, text: str) -> list[NamedConfig]:
    path = folder / "named.json"
    path.write_text(text)
    return read_named(path)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([A, B]),
        json.dumps([A, B], indent=1),
        f"{json.dumps(A)}\n\n{json.dumps(B)}\n",
        json.dumps([{"config": A}, {"config": B, "kernel": None}]),
    ],
)
def test_a_list_and_lines_are_the_same(tmp_path: Path, text: str) -> None:
    found = read(tmp_path, text)
    assert [each.config for each in found] == [A, B]
    assert {(each.kernel, each.workload) for each in found} == {("", "")}
    assert found[1].where in (f"{tmp_path}/named.json: entry 2", f"{tmp_path}/named.json line 3")


def test_a_record_says_what_it_is_of(tmp_path: Path) -> None:
    trace = {"trace": "[[],[]]" + " " * 3000}  # MetaSchedule's are longer than any other value
    for text in (json.dumps([RECORD, {**RECORD, "config": trace}]), json.dumps(RECORD)):
        first, *others = read(tmp_path, text)
        assert (first.config, first.kernel, first.workload) == (A, "k", KEY)
        assert [each.config for each in others] in ([], [trace])


def test_an_export_of_bests_is_read(tmp_path: Path) -> None:
    entry = {**RECORD, "threads": 2, "device": "a machine"}
    shapes: dict[str, Any] = {"devices": {"cpu-1": {"name": "a machine", "shapes": {KEY: entry}}}}
    (found,) = read(tmp_path, json.dumps({"format": "kernel-tuner-lab/best", "version": 1, **shapes}))
    assert (found.config, found.kernel, found.workload) == (A, "k", KEY)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty; give a list"),
        (" \n\n", "is empty; give a list"),
        ("[]", "has no configurations: give a list"),
        ("TILE=8", "is not JSON.*; give a list"),
        (f"{json.dumps(A)},\n{json.dumps(B)}", "is not JSON: Extra data at line 1; give a list"),
        (json.dumps(A) + "\0", "is not JSON: Extra data at line 1; give a list"),
        ('{"TILE": NaN}', "has the number NaN, which is not JSON"),
        ('{"TILE": 1e400}', "'TILE': inf is not a parameter's value"),
        ('{"TILE": 8}\n' + '{"a":' * 90_000, "line 2 nests too deeply$"),
        (json.dumps([A, B])[:-3], "truncated"),
        (json.dumps(A) + "\n{", r"named.json line 2 is truncated"),
        (json.dumps([A, 3]), "entry 2 is 3, not a configuration: give a list"),
        (json.dumps([{"TILE": [8, 16]}]), r"entry 1: 'TILE': \[8, 16\] is not a parameter's value"),
        (json.dumps({"workload": KEY, "sweeps": {}}), "'sweeps': {} is not a parameter's value"),
        (json.dumps({**RECORD, "kernel": 3}), "'kernel' cannot be 3"),
        ('[{"TILE": 8, "TILE": 16}]', "'TILE' twice"),
        ('[{"TILE\\u0000": 8}]', "entry 1: 'TILE.x00' is not a name"),
        (json.dumps({"x" * 10**5: 8}), "named.json: 'x+...x+' is not a name$"),
        (json.dumps({"kernel": "k", "config": "TILE=8"}), "'config' cannot be 'TILE=8': give a list"),
        (json.dumps({"workload": KEY, "config": None}), "'config' cannot be None"),
        ('{"format": "kernel-tuner-lab/result"}', "is no file that can be verified"),
        (json.dumps([{f"p{n}": n for n in range(300)}]), "more than 200 parameters"),
    ],
)
def test_what_is_none_is_one_line_that_names_the_place(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(TunerError, match=words) as caught:
        read(tmp_path, text)
    assert "named.json" in str(caught.value) and str(caught.value).isprintable()


def test_a_parameter_may_be_called_config(tmp_path: Path) -> None:
    (found,) = read(tmp_path, '[{"config": 3, "TILE": 8}]')
    assert found.config == {"config": 3, "TILE": 8}


def test_files_of_other_systems_are_read(tmp_path: Path) -> None:
    """Windows' programs write a mark and two characters a line end; JSON's texts may have U+2028 in them."""
    lines = [json.dumps({**RECORD, "note": "a\u2028b\x85c"}, ensure_ascii=False), json.dumps(B)]
    assert [each.config for each in read(tmp_path, "\ufeff" + "\r\n".join(lines))] == [A, B]


def test_of_a_file_of_millions_no_more_are_read_than_there_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes behind the last that may be is not looked at."""
    monkeypatch.setattr(named_configs, "_MOST", 2)
    one = json.dumps(A)
    assert len(read(tmp_path, f"{one}\n{one}")) == 2
    for text in ("\n".join([one, one, one, "3"]), f"[{one}, {one}, {one}, 3]"):
        with pytest.raises(TunerError, match="more than 2 configurations"):
            read(tmp_path, text)


def test_a_large_file_that_is_not_packed_does_not_unpack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_reading, "MAX_BYTES", 2**20)
    with pytest.raises(TunerError, match=r"named.json has more than 1 MiB$"):
        read(tmp_path, " " * (2**20 + 1))
