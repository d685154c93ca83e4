"""`result.json`: it is as its schema says, and is read back as it was written."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.report.test_comparison import outcome, stored
from tuner.core.errors import InterchangeError
from tuner.core.result_form import SCHEMA
from tuner.interchange.result import read_result
from tuner.report.present import present
from tuner.store.store import Store, open_store


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("result")
    with open_store(folder / "r.db") as store:
        first: Store = store
        campaign = stored(first, outcome(first), outcome(first, "32x32x32", final=False))
        present(campaign, first, folder, json=True)
    return folder / "result.json", json.loads((folder / "result.json").read_text())


def test_a_result_meets_its_schema(written: tuple[Path, Any]) -> None:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(written[1], schema)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.pop("version"),
        lambda d: d.update(version=2),
        lambda d: d["campaigns"][0]["protocol"].update(threads=0),
        lambda d: d["campaigns"][0]["workloads"][0]["final"]["entries"][0].pop("source"),
        lambda d: d["campaigns"][0]["workloads"][0]["final"]["entries"][0].update(samples_s=[]),
        lambda d: d["campaigns"][0]["workloads"][0]["kernels"][0]["trials"][0].update(evidence="guessed"),
    ],
)
def test_the_schema_refuses_what_no_reader_could_use(written: tuple[Path, Any], spoil: Any) -> None:
    document = json.loads(json.dumps(written[1]))
    spoil(document)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, json.loads(SCHEMA.read_text()))


def test_it_carries_every_sample_and_is_read_back(written: tuple[Path, Any]) -> None:
    path, document = written
    (campaign,) = read_result(path).campaigns
    assert [len(part.entries) for part in campaign.parts] == [4, 0]
    told = document["campaigns"][0]["workloads"][0]
    assert [e["kernel"] for e in told["final"]["entries"]] == [
        "cpp_packed",
        "numpy",
        "cpp_packed",
        "cpp_naive",
    ]
    assert [e.turns.samples for e in campaign.parts[0].entries] == [
        tuple(e["samples_s"]) for e in told["final"]["entries"]
    ]
    assert campaign.parts[0].reference == told["final"]["entries"][1]["trial"]
    assert [len(k["trials"]) for k in told["kernels"]] == [3, 1, 1, 2], "failures too"
    assert told["skipped"] == {"torch": "torch is not installed"}


def _entries(document: Any) -> Any:
    return document["campaigns"][0]["workloads"][0]["final"]["entries"]


def test_a_trace_is_read_back_whole(written: tuple[Path, Any], tmp_path: Path) -> None:
    document = json.loads(json.dumps(written[1]))
    trace = json.dumps([[["EnterPostproc", [], [], []]] * 100, []])
    _entries(document)[0]["config"] = {"trace": trace}
    file = tmp_path / "result.json"
    file.write_text(json.dumps(document))
    assert read_result(file).campaigns[0].parts[0].entries[0].config == {"trace": trace}


@pytest.mark.parametrize("seconds", [1e-320, 1e-13, 1e9, 1e308])
def test_a_time_that_none_can_be_is_refused(
    written: tuple[Path, Any], tmp_path: Path, seconds: float
) -> None:
    document = json.loads(json.dumps(written[1]))
    _entries(document)[1]["samples_s"][0] = seconds
    file = tmp_path / "result.json"
    file.write_text(json.dumps(document))
    with pytest.raises(InterchangeError, match=r"entry 2: samples_s: .* s is no time of a kernel"):
        read_result(file)
