"""Pages: each answers in the shell; what is stored is text and never script; errors say what is wrong."""

import re
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
from fastapi.testclient import TestClient

from tests.report.stored import trials
from tests.serve.made import HOSTILE, begin
from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.trial import Trial
from tuner.serve import sources
from tuner.serve.application import application
from tuner.serve.charts import bars
from tuner.serve.database import Database
from tuner.store.store import open_store

PAGES = (
    "/", "/live", "/best", "/workloads", "/sweeps", "/trials", "/trials?status=ok&sweep=2", "/campaigns",
    "/comparisons", "/devices", "/search", "/search?q=gemm", "/api", "/workloads/1", "/sweeps/1", "/sweeps/2",
    "/trials/1", "/trials/7", "/campaigns/1", "/campaigns/2",
)  # fmt: skip


class Scripts(HTMLParser):
    """The scripts of a page: where each is from, and what stands in those of the page itself."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.sources: list[str | None] = []
        self.kinds: list[str | None] = []
        self.handlers: list[str] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.handlers += [name for name in named if name.startswith("on")]
        if tag == "script":
            self.sources.append(named.get("src"))
            self.kinds.append(named.get("type"))
        if named.get("href"):
            self.links.append(str(named["href"]))


@pytest.mark.parametrize("url", PAGES)
def test_a_page_answers_in_the_shell_and_loads_nothing_from_elsewhere(client: TestClient, url: str) -> None:
    answer = client.get(url)
    assert answer.status_code == 200, answer.text[:2000]
    page = answer.text
    assert '<nav class="places"' in page and "tuner serve" in page
    found = Scripts(page)
    assert all((source or "").startswith("/static/") or kind == "application/json"
               for source, kind in zip(found.sources, found.kinds, strict=True))  # fmt: skip
    assert not found.handlers
    assert not re.search(r'(src|href)="(https?:)?//', page)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]


@pytest.mark.parametrize("url", PAGES)
def test_links_of_a_page_lead_somewhere(client: TestClient, url: str) -> None:
    for link in sorted(set(Scripts(client.get(url).text).links)):
        if not link.endswith(("/inspect", "/report")):  # made in processes of their own
            assert client.get(link).status_code in (200, 303), link


def test_hostile_names_are_text(client: TestClient) -> None:
    campaigns, devices = client.get("/").text, client.get("/devices").text
    for page in (campaigns, devices, client.get("/campaigns/2").text):
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(1)" in page
    assert "49" not in re.findall(r"alert\(1\)[^<]*", devices)[0]  # {{7*7}} is no template
    kernel = client.get("/api/search", params={"q": HOSTILE.split()[0]}).json()["kernels"]
    assert [each["kernel"] for each in kernel] == [HOSTILE]
    assert client.get("/trials", params={"kernel": HOSTILE}).text.count("<script>alert") == 0
    answer = client.get("/search", params={"q": '"><script>alert(1)</script>'})
    assert "<script>alert" not in answer.text


@pytest.mark.parametrize(
    "path",
    ["/trials/99999", "/sweeps/99999", "/campaigns/99999", "/workloads/99999", "/trials/abc", "/trials/0",
     "/trials/-1", "/trials/99999999999999999999999", "/workload?key=none", "/nope", "/static/nope.js",
     "/static/..%2f..%2fserver.py", "/trials/99999/inspect", "/campaigns/99999/report"],
)  # fmt: skip
def test_what_is_not_there_is_a_page_with_status_404(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert '<nav class="places"' in answer.text and "Traceback" not in answer.text


@pytest.mark.parametrize("path", ["/api/trials/99999", "/api/trials/x", "/api/sweeps/0", "/api/nope"])
def test_what_is_not_there_is_json_under_the_api(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert list(answer.json()) == ["error"]


def test_a_number_in_the_search_leads_to_its_page(client: TestClient) -> None:
    for text, page in (("t2", "/trials/2"), ("S3", "/sweeps/3"), (" c1 ", "/campaigns/1")):
        answer = client.get("/search", params={"q": text})
        assert (answer.status_code, answer.headers["location"]) == (303, page)
    assert client.get("/search", params={"q": "t999999"}).status_code == 200


def test_the_description_of_the_api_is_true(client: TestClient) -> None:
    described = client.get("/api/openapi.json").json()
    assert described["openapi"].startswith("3.")
    values = {"sweep": 1, "trial": 1, "workload": 1, "campaign": 1}
    for path, methods in described["paths"].items():
        assert set(methods) == {"get"}, path
        if path != "/api/events":
            answer = client.get(path.format(**values), params={"q": "x"})
            assert answer.status_code == 200, path


def test_the_json_of_a_sweep_has_its_records(client: TestClient) -> None:
    found = client.get("/api/sweeps/2").json()
    times = [row["time_s"] for row in found["records"]]
    assert times == sorted(times, reverse=True) and times[-1] == found["best_s"]
    campaign = client.get("/api/campaigns/1").json()
    assert campaign["parts"][0]["final"]["entries"][0]["kernel"] == "cpp_packed"


def test_times_that_nobody_measured_are_called_so(tmp_path) -> None:
    with open_store(tmp_path / "r.db") as store:
        sweep, spec = begin(tmp_path / "r.db")
        key = trials(spec, 1)[0].key
        predicted = Measurement(Status.OK, Evidence.PREDICTED, (1e-4,))
        store.add_trials(sweep, [Trial(key, predicted)])
        database = Database(tmp_path / "r.db")
        client = TestClient(application(database), "http://127.0.0.1")
        assert "100 µs (predicted)" in client.get("/live").text
        assert "best so far 100 µs (predicted)" in client.get("/").text
        assert "best time, t1, predicted" in client.get(f"/sweeps/{sweep}").text
        assert client.get("/api/sweeps").json()["rows"][0]["evidence"] == ["predicted"]
        database.close()


def test_a_kernel_edited_while_serving_counts_as_changed(tmp_path, monkeypatch) -> None:
    file = tmp_path / "k.cpp"
    kernel = SimpleNamespace(digest="as it was read", present_digest=file.read_text)
    monkeypatch.setattr("tuner.registry.kernels", lambda: {"k": kernel})
    monkeypatch.setattr(sources, "_last", sources._Last())
    file.write_text("before")
    before = sources.digests()["k"]
    file.write_text("after")
    sources._look()
    assert sources.digests()["k"] != before
    file.unlink()
    sources._look()
    assert sources.digests()["k"] == "as it was read"


def test_a_python_kernel_whose_file_is_being_written_keeps_its_last_digest(tmp_path, monkeypatch) -> None:
    class Kernel:
        @property
        def digest(self) -> str:
            return self.present_digest()

        def present_digest(self) -> str:
            return (tmp_path / "k.py").read_text()

    monkeypatch.setattr("tuner.registry.kernels", lambda: {"k": Kernel()})
    monkeypatch.setattr(sources, "_last", sources._Last())
    (tmp_path / "k.py").write_text("before")
    assert sources.digests()["k"] == "before"
    (tmp_path / "k.py").unlink()
    sources._look()
    assert sources.digests()["k"] == "before"


def test_a_campaign_s_page_says_who_won(client: TestClient) -> None:
    page = client.get("/campaigns/1").text
    assert "cpp_packed is the fastest with 120 µs, 1.08x as fast as numpy" in page


def test_configurations_of_one_kernel_have_a_bar_each() -> None:
    entry = {"interval_s": None, "baseline": False, "label": ""}
    chart = bars(
        "one",
        [{**entry, "kernel": name, "trial": trial, "shown_s": 1e-6 * trial}
         for name, trial in (("packed", 1), ("packed", 2), ("naive", 9))],
    )  # fmt: skip
    assert chart is not None
    # Of one name they would be stacked: 3 us where the slower one takes 2.
    assert [value["kernel"] for value in chart.spec["data"]["values"]] == [
        "packed (t1)",
        "packed (t2)",
        "naive",
    ]


def test_a_bar_of_seconds_leaves_bars_of_microseconds_to_be_seen() -> None:
    entry = {"baseline": False, "label": "", "trial": 1}
    chart = bars(
        "one",
        [{**entry, "kernel": "packed", "shown_s": 1e-6, "interval_s": (0.9e-6, 1e-6, 1.1e-6)},
         {**entry, "kernel": "cpp_naive", "shown_s": 4.0, "interval_s": (3.0, 4.0, 5.0)}],
    )  # fmt: skip
    assert chart is not None
    fast, slow = chart.spec["data"]["values"]
    assert (fast["kind"], slow["kind"]) == ("tuned here", "plain program")
    assert slow["shown"] == "→ 4.00 s" and slow["time"] == 4 and slow["high"] == 4
    assert chart.caption == "Shorter is faster. An arrow: longer than it is drawn."


def test_scripts_are_sent_once(client: TestClient) -> None:
    answer = client.get("/static/table.js")
    assert answer.headers["content-type"].startswith("text/javascript")
    again = client.get("/static/table.js", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
