"""What routes share: the database of a request, ids in addresses, filters of lists."""

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request

from tuner.serve.database import Look
from tuner.serve.lists import MOST, ListAsked

_LONGEST = 200


def look(request: Request) -> Iterator[Look]:
    """One moment of the database, until the request has been answered."""
    with request.app.state.database.look() as found:
        yield found


Looking = Annotated[Look, Depends(look)]
Id = Annotated[int, Path(ge=1, le=10**18)]


def _text(words: str) -> Any:
    return Query(max_length=_LONGEST, description=words)


def asked(
    operator: Annotated[str, _text("only this operator")] = "",
    dtype: Annotated[str, _text("only this element type")] = "",
    workload: Annotated[str, _text("only the workload of this id")] = "",
    kernel: Annotated[str, _text("only this kernel")] = "",
    device: Annotated[str, _text("only this device: its name or fingerprint")] = "",
    sweep: Annotated[str, _text("only this sweep")] = "",
    state: Annotated[str, _text("only sweeps: running, finished, interrupted")] = "",
    searcher: Annotated[str, _text("only sweeps of this searcher")] = "",
    status: Annotated[str, _text("only trials that ended so: ok, build_error, ...")] = "",
    evidence: Annotated[str, _text("only times worth so much: measured, replayed, predicted, ...")] = "",
    kind: Annotated[str, _text("only campaigns: comparison, network, sweep")] = "",
    text: Annotated[str, _text("words that all have to occur in the names of a line")] = "",
    sort: Annotated[str, _text("column to sort by")] = "",
    descending: Annotated[bool, Query(description="in reverse")] = False,
    after: Annotated[str, _text("`after` of the page before")] = "",
    limit: Annotated[int, Query(ge=1, le=MOST, description="lines a page")] = 50,
) -> ListAsked:
    """The filters, order and page of a list."""
    filters = {
        "operator": operator,
        "dtype": dtype,
        "workload": workload,
        "kernel": kernel,
        "device": device,
        "sweep": sweep,
        "state": state,
        "searcher": searcher,
        "status": status,
        "evidence": evidence,
        "kind": kind,
    }
    return ListAsked(
        {name: value for name, value in filters.items() if value}, text, sort, descending, after, limit
    )


Asking = Annotated[ListAsked, Depends(asked)]
