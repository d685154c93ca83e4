"""Nothing is lost between a page and its stream of events, nor while a browser does not listen."""

import inspect
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.report.stored import trials
from tests.serve.made import begin, fill
from tuner.serve.application import application
from tuner.serve.database import Database
from tuner.serve.feed import EVERY_S
from tuner.store.browse.catalogue import CatalogueReader
from tuner.store.records import SweepSpec
from tuner.store.store import open_store

FRESH_S = inspect.signature(CatalogueReader).parameters["fresh_s"].default


class Live:
    """A client of a server whose database gets trials while it runs."""

    def __init__(self, client: TestClient, path: Path, number: int, spec: SweepSpec) -> None:
        self.client, self.path, self.number = client, path, number
        self._made = iter(trials(spec, 300, 0))

    def store(self, count: int) -> list[int]:
        """Stores trials, and waits until every look at the database has them."""
        with open_store(self.path) as store:
            made = list(store.add_trials(self.number, [next(self._made) for _ in range(count)]))
        time.sleep(1.2 * FRESH_S)
        return made

    def told(self, url: str, headers: dict[str, str] | None = None) -> list[int]:
        """The trials that a stream tells of until the server closes it."""
        feed = self.client.app.state.feed  # type: ignore[attr-defined]
        assert self.client.portal is not None
        # Streams end when the server does: this one after a few looks at the database.
        timer = threading.Timer(4 * EVERY_S, self.client.portal.call, (feed.close,))
        timer.start()
        answer = self.client.get(url, headers=headers)
        timer.join()
        feed._closed = False
        assert answer.status_code == 200
        events = [message.split("\n") for message in answer.text.split("\n\n") if "data: " in message]
        assert events[0][0] == "event: running"
        rows = [json.loads(lines[-1].removeprefix("data: ")) for lines in events if "event: trial" in lines]
        return [row["trial"] for row in rows]


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    path = tmp_path / "results.db"
    fill(path)
    number, spec = begin(path)
    database = Database(path)
    with TestClient(application(database), "http://127.0.0.1") as client:
        yield Live(client, path, number, spec)
    database.close()


def newest(page: str) -> int:
    """The trial that a page says it was made with."""
    (found,) = re.findall(r'data-newest="(\d+)"', page)
    return int(found)


def test_what_is_stored_between_page_and_stream_is_told_once(live: Live) -> None:
    shown = live.store(2)
    for page in ("/live", f"/sweeps/{live.number}"):
        after = newest(live.client.get(page).text)
        assert after == shown[-1]
        between = live.store(3)
        assert live.told(f"/api/events?after={after}") == between
        shown = between


def test_a_stream_that_nobody_knows_the_page_of_begins_now(live: Live) -> None:
    live.store(2)
    assert live.told("/api/events") == []


def test_who_was_cut_off_says_what_it_saw_last_and_the_page_no_longer_counts(live: Live) -> None:
    first, second, *more = live.store(4)
    told = live.told(f"/api/events?after={first - 1}", {"last-event-id": str(second)})
    assert told == more


def test_of_very_many_the_newest_are_told(live: Live) -> None:
    after = newest(live.client.get("/live").text)
    many = live.store(230)
    assert live.told(f"/api/events?after={after}") == many[-200:]


@pytest.mark.parametrize("after", ["x", "-1", "1" * 30, ""])
def test_what_is_no_trial_is_refused_in_one_line(live: Live, after: str) -> None:
    answer = live.client.get("/api/events", params={"after": after})
    assert answer.status_code == 400 and "after" in answer.json()["error"]
    assert "\n" not in answer.json()["error"]
