"""The application: the JSON API, the pages, the scripts they load, and what is said where something fails."""

import json
import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from tuner.core.errors import StoreError, TunerError
from tuner.serve import api, events, pages, record_pages, rendering
from tuner.serve.database import Database
from tuner.serve.feed import Feed
from tuner.serve.lists import BadQuestion
from tuner.serve.making import PageMaker
from tuner.store.errors import NotStored, StoreDamaged

_MOST_TOLD = 20
_LOG = logging.getLogger("uvicorn.error")
_ABOUT = """
The database of the lab, to be read. Times are seconds, moments UTC in ISO 8601. A list is cut to pages:
`after` of an answer is what the next page is asked with, `matching` counts the lines of all pages and `total`
those without filters. An error is `{"error": "one line"}` with status 400 (a question that makes no sense),
404 (there is no such thing) or 503 (the database cannot be read now).
"""


def application(database: Database) -> FastAPI:
    """The application over a database; `state.feed` and `state.maker` are to be closed at its end."""
    app = FastAPI(
        title="Kernel tuning lab",
        version="1",
        description=_ABOUT.strip(),
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    app.state.database = database
    app.state.told = set()
    app.state.feed = Feed(database)
    app.state.maker = PageMaker(database.where)
    app.include_router(events.router)
    app.include_router(api.router)
    app.include_router(pages.router)
    app.include_router(record_pages.router)
    app.add_api_route("/static/{name}", static, include_in_schema=False)
    app.add_exception_handler(TunerError, _on_tuner_error)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(Exception, _on_crash)
    return app


def static(name: str, request: Request) -> Response:
    """A style sheet or script, by its name."""
    found = rendering.static(name)
    if found is None:
        return failed(request, 404, f"there is no script or style sheet {name[:80]!r}")
    text, kind, tag = found
    headers = {"etag": tag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(text, media_type=kind, headers=headers)


def failed(request: Request, status: int, message: str) -> Response:
    """An error as whoever asked can read it: JSON under `/api/`, elsewhere a page."""
    if request.url.path.startswith("/api/"):
        return JSONResponse({"error": message}, status)
    body = rendering.page("failed.html", _TITLES.get(status, "This did not work"), message=message)
    return HTMLResponse(body.text, status, body.headers)


_TITLES = {404: "There is no such page", 400: "This cannot be asked", 503: "The database cannot be read"}


def _on_tuner_error(request: Request, error: Exception) -> Response:
    message = " ".join(str(error).split())
    if isinstance(error, BadQuestion):
        return failed(request, 400, message)
    told: set[str] = request.app.state.told
    if isinstance(error, StoreDamaged) and message not in told and len(told) < _MOST_TOLD:
        # Whoever runs the server may want to know which value it was; once, since browsers ask again and
        # again, and a log that nobody empties (a pipe) would stop the server.
        told.add(message)
        _LOG.warning("%s", message, exc_info=error)
    if isinstance(error, StoreError):
        return failed(request, 404 if isinstance(error, NotStored) else 503, message)
    return failed(request, 422, message)


def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = str(error.detail)
    if error.status_code == 404 and message == "Not Found":
        message = f"there is nothing at {request.url.path[:200]}"
    return failed(request, error.status_code, message)


def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first: dict[str, Any] = error.errors()[0]
    where, name = first["loc"][0], first["loc"][-1]
    if where == "path":
        return failed(request, 404, f"there is nothing at {request.url.path[:200]}")
    given = json.dumps(first.get("input"), default=str)[:80]
    return failed(request, 400, f"{name}={given}: {first['msg'][:1].lower()}{first['msg'][1:]}")


def _on_crash(request: Request, error: Exception) -> Response:
    # The traceback goes to the server's log; what it says is nobody's business over a network.
    return failed(request, 500, "this request made the server fail: its log says how")
