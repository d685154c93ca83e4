"""Lists: every line once over all pages, in the order that is asked for, and counted right."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tuner.store.store import open_store


def pages(client: TestClient, url: str, limit: int, **asked: Any) -> Iterator[dict[str, Any]]:
    after = None
    for _ in range(500):
        query = {**asked, "limit": limit} | ({"after": after} if after else {})
        answer = client.get(url, params=query)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["rows"]) <= limit
        yield page
        after = page["after"]
        if after is None:
            return
    raise AssertionError("a list without end")


def every(client: TestClient, url: str, limit: int = 60, **asked: Any) -> list[dict[str, Any]]:
    found = list(pages(client, url, limit, **asked))
    rows = [row for page in found for row in page["rows"]]
    assert {page["matching"] for page in found} == {len(rows)}
    return rows


@pytest.fixture(scope="module")
def proposals(filled: Path) -> list[tuple[int, int, Any]]:
    """(sweep, number, trial) of every proposal, read another way."""
    with open_store(filled, read_only=True) as store:
        return [(s.id, n, t) for s in store.sweeps() for n, t in store.numbered_history(s.id)]


def test_trials_by_number_are_every_proposal_once(client: TestClient, proposals: Any) -> None:
    expected = [(sweep, number, trial.id) for sweep, number, trial in proposals]
    for descending in (False, True):
        rows = every(client, "/api/trials", sort="number", descending=descending)
        assert [(r["sweep"], r["number"], r["trial"]) for r in rows] == sorted(expected, reverse=descending)
    assert every(client, "/api/trials", 500) == every(client, "/api/trials", 17)


@pytest.mark.parametrize("status", ["ok", "build_error", "environment", "crash"])
@pytest.mark.parametrize("evidence", [None, "measured", "replayed"])
def test_trials_of_a_status_are_those_that_ended_so(
    client: TestClient, proposals: Any, status: str, evidence: str | None
) -> None:
    expected = [
        (sweep, number, trial.id)
        for sweep, number, trial in proposals
        if trial.measurement.status == status and evidence in (None, trial.measurement.evidence)
    ]
    asked = {"status": status} | ({"evidence": evidence} if evidence else {})
    rows = every(client, "/api/trials", 19, **asked)
    assert [(r["sweep"], r["number"], r["trial"]) for r in rows] == sorted(expected, reverse=True)
    assert {row["status"] for row in rows} <= {status}


@pytest.mark.parametrize("descending", [False, True])
def test_trials_by_time_are_the_right_ones_in_their_order(
    client: TestClient, proposals: Any, descending: bool
) -> None:
    right = {t.id: t.measurement.time_s for _, _, t in proposals if t.measurement.ok}
    found = list(pages(client, "/api/trials", 11, sort="time_s", descending=descending))
    rows = [(row["time_s"], row["trial"]) for page in found for row in page["rows"]]
    assert rows == sorted(((s, i) for i, s in right.items()), reverse=descending)


def test_a_sweep_s_own_list_holds_what_it_reused(client: TestClient, proposals: Any) -> None:
    last = max(sweep for sweep, _, _ in proposals)
    mine = {t.id: t.measurement.time_s for sweep, _, t in proposals if sweep == last and t.measurement.ok}
    rows = every(client, "/api/trials", 4, sweep=last, sort="time_s")
    assert [row["trial"] for row in rows] == [i for _, i in sorted((s, i) for i, s in mine.items())]
    assert sum(row["reused"] for row in rows) > 0


def test_filters_and_words_choose_lines(client: TestClient) -> None:
    assert {row["kernel"] for row in every(client, "/api/sweeps", kernel="numpy")} == {"numpy"}
    assert {row["kernel"] for row in every(client, "/api/trials", kernel="numpy")} == {"numpy"}
    assert {row["workload"] for row in every(client, "/api/sweeps", text="M320 PACKED")} == {
        "gemm/f32/m320-n64-k64"
    }
    assert every(client, "/api/sweeps", text="nothing is called so") == []
    assert every(client, "/api/workloads", operator="conv2d") == []


@pytest.mark.parametrize(
    ("url", "columns"),
    [
        ("/api/sweeps", ["sweep", "workload", "kernel", "trials", "right", "best_s", "started_at", "state"]),
        ("/api/workloads", ["workload", "operator", "sweeps", "trials", "newest", "flops"]),
        ("/api/best", ["workload", "device", "threads"]),
    ],
)
def test_lists_in_memory_sort_by_each_column_both_ways(
    client: TestClient, url: str, columns: list[str]
) -> None:
    whole = every(client, url, 500)
    for column, descending in itertools.product(columns, (False, True)):
        rows = every(client, url, 13, sort=column, descending=descending)
        values = [row[column] for row in rows if row[column] is not None]
        assert values == sorted(values, reverse=descending), column
        assert len(rows) == len(whole)


def test_best_says_what_tuner_best_says(client: TestClient, filled: Path) -> None:
    with open_store(filled, read_only=True) as store:
        rows = store.best()
    expected: dict[Any, float] = {}
    for row in rows:
        place = (row.workload.key, row.device.fingerprint)
        shown = row.interval.mid if row.retimed else row.time_s
        expected[place] = min(shown, expected.get(place, shown))
    found = {(r["workload"], r["fingerprint"]): r["shown_s"] for r in every(client, "/api/best")}
    assert found == expected


@pytest.mark.parametrize(
    "asked",
    ["sort=nonsense", "after=nonsense", "limit=0", "limit=501", "limit=x", "status=nonsense", "evidence=x",
     "sweep=x", "sweep=99999999999999999999", "descending=perhaps", "text=" + "x" * 300],
)  # fmt: skip
def test_a_question_that_makes_no_sense_is_one_line(client: TestClient, asked: str) -> None:
    answer = client.get(f"/api/trials?{asked}")
    assert answer.status_code == 400
    assert "\n" not in answer.json()["error"]


def test_keys_that_overflow_a_database_are_no_crash(client: TestClient) -> None:
    for after in ("1e400:1", "nan:1", "1:99999999999999999999999", "9e99:1", "-1:-1"):
        answer = client.get("/api/trials", params={"after": after, "sort": "number"})
        assert answer.status_code in (200, 400), (after, answer.text)
