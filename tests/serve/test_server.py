"""The process: it tells browsers of new trials, ends at once, and says in one line why it cannot begin."""

import json
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.report.stored import trials
from tests.serve.made import begin, fill
from tests.serve.running import served
from tuner.cli import main
from tuner.store.store import open_store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    fill(tmp_path / "results.db")
    return tmp_path / "results.db"


def events(lines: Any, until: str) -> list[tuple[str, Any]]:
    """Events of a stream up to the first of a name, that one included."""
    found, name = [], ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            found.append((name, json.loads(line.removeprefix("data: "))))
            if name == until:
                return found
    return found


def test_a_new_trial_is_told_and_a_signal_ends_open_streams(path: Path) -> None:
    number, spec = begin(path)
    made = trials(spec, 3, 0)
    with (
        served(path) as (url, process),
        open_store(path) as store,
        httpx.stream("GET", f"{url}api/events", timeout=60) as stream,
    ):
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        ((_, running),) = events(lines, "running")
        assert [row["sweep"] for row in running["sweeps"]] == [number]
        (first,) = store.add_trials(number, made[:1])
        name, row = events(lines, "trial")[-1]
        assert (name, row["trial"], row["status"]) == ("trial", first, "ok")
        counted = events(lines, "sweep")[-1][1]
        assert (counted["trials"], counted["state"]) == (1, "running")
        # Cut off and back again, a browser is told what it missed.
        missed = store.add_trials(number, made[1:])
        with httpx.stream(
            "GET", f"{url}api/events", headers={"last-event-id": str(first)}, timeout=60
        ) as again:
            assert events(again.iter_lines(), "trial")[-1][1]["trial"] == missed[0]
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0


@pytest.mark.slow
def test_an_idle_server_ends_by_ctrl_c_too(path: Path) -> None:
    with served(path) as (url, process):
        assert httpx.get(url, timeout=60).status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        said = process.stderr.read() if process.stderr else ""
        assert "Traceback" not in said


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs the command, which has to end with 2 and one line."""

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["tuner", "serve", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, said = capsys.readouterr()
        assert (ended.value.code, out, said.count("\n")) == (2, "", 1) and said.startswith("error: ")
        return said

    return run


def test_it_says_in_one_line_why_it_cannot_begin(path: Path, refused: Callable[..., str]) -> None:
    db = ("--db", str(path))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"port {port}: address already in use" in refused("--port", port, *db)
    assert "--token new" in refused("--host", "0.0.0.0", "--port", "0", *db)
    assert "16" in refused("--token", "short", "--port", "0", *db)
    assert "cannot listen" in refused("--host", "192.0.2.1", "--token", "new", "--port", "0", *db)
    assert "no database" in refused("--port", "0", "--db", str(path.with_name("none.db")))


def test_without_the_extra_it_says_which_to_install(
    monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    for name in [n for n in sys.modules if n.startswith("tuner.serve.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert "needs uvicorn: pip install 'kernel-tuner-lab[serve]'" in refused("--port", "0")


@pytest.mark.slow
def test_with_a_token_nothing_is_shown_without_it(path: Path) -> None:
    with served(path, "--host", "0.0.0.0", "--token", "new") as (url, _):
        port = httpx.URL(url).port
        token = httpx.URL(url).params["token"]
        here = f"http://127.0.0.1:{port}"
        assert httpx.get(f"{here}/api/overview", timeout=60).status_code == 401
        named = {"authorization": f"Bearer {token}"}
        assert httpx.get(f"{here}/api/overview", headers=named, timeout=60).json()["sweeps"] > 0
        with httpx.Client(follow_redirects=True, timeout=60) as browser:
            page = browser.get(f"{here}/?token={token}")
            assert page.status_code == 200 and token not in str(page.url) and token not in page.text
            assert browser.get(f"{here}/sweeps").status_code == 200


@pytest.mark.slow
def test_a_candidate_is_built_and_a_report_made_in_processes_of_their_own(path: Path) -> None:
    with served(path) as (url, _):
        report = httpx.get(f"{url}campaigns/1/report", timeout=150)
        assert report.status_code == 200 and "GEMM 256" in report.text
        assert "sandbox" in report.headers["content-security-policy"]
        # MC=48 alone is no configuration of this kernel: what is wrong is said in the server's own page.
        answer = httpx.get(f"{url}trials/2/inspect", timeout=150)
        assert answer.status_code == 422 and '<nav class="places"' in answer.text
