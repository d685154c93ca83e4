"""Requests that get no result: in which words, and with which headers, whoever reads them."""

import json
import math

from tuner.model.serving.protocol import Refused


def no_memory() -> Refused:
    """The bodies of others take what there is for all of them."""
    return Refused(503, "other requests hold the memory: ask again later", 1.0)


def late_body(seconds: float) -> Refused:
    """It was not there in so many seconds."""
    return Refused(408, f"the body did not come within {seconds:g} s")


def no_answer(timeout_s: float) -> Refused:
    """The request's own time is over, seconds."""
    return Refused(503, f"no answer within the request's timeout of {timeout_s:g} s")


def crashed() -> Refused:
    """A defect, whose traceback goes to the server's log."""
    return Refused(500, "this request made the server fail: its log says how")


def headers_of(why: Refused) -> dict[str, str]:
    """Of the answer, beside those of every answer."""
    found = {"content-type": "application/json"}
    if why.retry_after_s is not None:
        found["retry-after"] = str(math.ceil(why.retry_after_s))
    if why.status in (408, 413, 503):
        # Of the request there may be more, which nobody reads.
        found["connection"] = "close"
    return found


def body_of(why: Refused) -> bytes:
    """Of the answer: `{"error": "one line"}`."""
    return json.dumps({"error": str(why)}, separators=(",", ":")).encode()
