"""Who is answered: reading requests to this server's names, with the token where there is one."""

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from tuner.serve.guard import Guard, is_loopback

TOKEN = "a-token-of-many-characters"
Asked = Callable[..., TestClient]


async def hello(scope, receive, send):  # type: ignore[no-untyped-def]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


def asking(base: str = "http://127.0.0.1:8427", token: str | None = None) -> TestClient:
    return TestClient(Guard(hello, frozenset({"localhost", "Box"}), token), base, follow_redirects=False)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:8427",
        "localhost:1",
        "LOCALHOST",
        "localhost.",
        "[::1]:8427",
        "box",
        "127.5.5.5",
    ],
)
def test_its_own_names_are_answered(host: str) -> None:
    assert asking().get("/", headers={"host": host}).text == "hello"


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8427", "127.0.0.1.evil.example", "localhost.evil.example", "192.168.1.7",
     "", "[::2]:80", "localhost@evil.example", "0x7f000001"],
)  # fmt: skip
def test_another_name_is_refused(host: str) -> None:
    """DNS rebinding: a page's own name that resolves to 127.0.0.1."""
    answer = asking().get("/", headers={"host": host})
    assert answer.status_code == 421 and "hello" not in answer.text


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_nothing_that_changes_state_is_answered(method: str) -> None:
    answer = asking().request(method, "/")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


def test_another_site_may_link_and_not_load() -> None:
    cross = {"sec-fetch-site": "cross-site"}
    assert asking().get("/", headers={**cross, "sec-fetch-mode": "no-cors"}).status_code == 403
    assert asking().get("/", headers={**cross, "sec-fetch-mode": "navigate"}).status_code == 200
    assert (
        asking().get("/", headers={"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}).text == "hello"
    )


def test_every_answer_has_the_headers_that_browsers_heed() -> None:
    for answer in (
        asking().get("/"),
        asking().get("/", headers={"host": "evil.example"}),
        asking().post("/"),
    ):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "server" not in answer.headers


@pytest.mark.parametrize("given", ["", "wrong-token-of-many-characters", TOKEN[:-1], TOKEN + "x", "\u00e9"])
def test_without_the_token_nothing_is_said(given: str) -> None:
    client = asking(token=TOKEN)
    assert client.get("/", params={"token": given} if given else {}).status_code == 401
    if given.isascii():
        assert client.get("/", headers={"authorization": f"Bearer {given}"}).status_code == 401
        assert client.get("/", headers={"cookie": f"tuner_token={given}"}).status_code == 401
    assert (
        client.get("/", headers={"cookie": f"tuner_token={TOKEN}"}).status_code == 401
    )  # the cookie is another


def test_the_token_lets_a_program_in() -> None:
    assert asking(token=TOKEN).get("/", headers={"authorization": f"bearer {TOKEN}"}).text == "hello"
    assert asking(token=TOKEN).get("/api/x", params={"token": TOKEN}).text == "hello"


def test_the_token_in_an_address_becomes_a_cookie_and_leaves_the_address() -> None:
    client = asking(token=TOKEN)
    answer = client.get("/trials", params={"token": TOKEN, "status": "ok"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/trials?status=ok")
    cookie = answer.headers["set-cookie"]
    assert TOKEN not in cookie and "HttpOnly" in cookie and "SameSite" in cookie
    assert client.get(answer.headers["location"]).text == "hello"
    another = asking(token=TOKEN)
    assert another.get("/", headers={"cookie": cookie.split(";")[0]}).status_code == 401  # of another server


def test_the_welcome_leads_to_no_other_site() -> None:
    answer = asking(token=TOKEN).get("//evil.example/x", params={"token": TOKEN})
    assert answer.headers["location"].startswith("/") and not answer.headers["location"].startswith("//")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("[::1]", True), ("localhost", True),
     ("0.0.0.0", False), ("::", False), ("192.168.0.1", False), ("localhost.evil", False), ("", False)],
)  # fmt: skip
def test_loopback_addresses(host: str, loopback: bool) -> None:
    assert is_loopback(host) == loopback
