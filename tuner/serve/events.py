"""The stream of events at `/api/events`."""

from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Query, Request
from fastapi.responses import StreamingResponse

from tuner.serve.feed import Feed

router = APIRouter(prefix="/api", tags=["live"])


@router.get(
    "/events",
    summary="New trials and the state of running sweeps, as they come",
    response_class=StreamingResponse,
)
async def events(
    request: Request,
    last_event_id: Annotated[str | None, Header(max_length=20)] = None,
    after: Annotated[
        int | None, Query(ge=0, le=10**18, description="first the trials after this one")
    ] = None,
) -> StreamingResponse:
    """Server-sent events: `running` once, then `sweep`, `trial` and `trouble`; see docs/serve.md."""
    feed: Feed = request.app.state.feed
    if feed.full:
        raise HTTPException(503, "too many browsers listen already: close a page")
    if last_event_id and last_event_id.isascii() and last_event_id.isdigit():
        after = int(last_event_id)  # of a browser that was cut off: it has seen more than when it came
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(feed.listen(after), media_type="text/event-stream", headers=headers)
