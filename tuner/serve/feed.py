"""News for browsers: one look at the database a moment for all who listen, none while nobody does.

The events of `/api/events` (server-sent events, html.spec.whatwg.org/multipage/server-sent-events.html):
`running` once, `sweep` for each running sweep whenever it has changed and once more when it has ended,
`trial` for each new trial, `trouble` while the database cannot be read. A page says which trial was the
newest when it was made (`after`), and is told what came since. The id of a trial's event is the trial's: a
browser that was cut off says which it saw last, and is told what it missed.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tuner.core.errors import TunerError
from tuner.serve.database import Database
from tuner.serve.lists import sweep_row, trial_row
from tuner.store.browse.news import trials_between

EVERY_S = 0.4
ALIVE_S = 15.0
"""After so many seconds without news a comment is sent: proxies cut what is silent."""
MOST_LISTENERS = 64
_MISSED = 200
_QUEUED = 2000


def message(event: str, data: Mapping[str, Any], number: int | None = None) -> str:
    """One event as it goes over the wire; JSON has no line ends of its own, so nothing stored can end it."""
    named = f"id: {number}\n" if number is not None else ""
    return f"{named}event: {event}\ndata: {json.dumps(data, default=str)}\n\n"


@dataclass
class _Seen:
    """What the listeners were told last."""

    trial: int | None = None
    sweeps: dict[int, dict[str, Any]] = field(default_factory=dict)
    trouble: str = ""


class Feed:
    """Looks at a database and tells listeners; lives in one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._listeners: set[asyncio.Queue[str | None]] = set()
        self._seen = _Seen()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def close(self) -> None:
        """Ends all streams, and those that come later at once."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
        for queue in self._listeners:
            queue.put_nowait(None)

    @property
    def full(self) -> bool:
        """Whether nobody more can listen."""
        return len(self._listeners) >= MOST_LISTENERS

    async def listen(self, after: int | None = None) -> AsyncIterator[str]:
        """The events from now on; from after a trial, if one is given, of what came since the newest 200."""
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        if self._closed or self.full:  # of many who came at once, all were told that there is room
            return
        self._listeners.add(queue)
        try:
            yield "retry: 2000\n\n"
            told, newest = await asyncio.to_thread(self._greeting, after)
            for text in told:
                yield text
            if self._task is None or self._task.done():
                # What is stored from the greeting on is news.
                self._seen = _Seen(newest)
                self._task = asyncio.create_task(self._watch())
            while True:
                try:
                    text_or_end = await asyncio.wait_for(queue.get(), ALIVE_S)
                except TimeoutError:
                    yield ": nothing new\n\n"
                    continue
                if text_or_end is None:
                    return
                yield text_or_end
        finally:
            self._listeners.discard(queue)

    def _greeting(self, after: int | None) -> tuple[list[str], int | None]:
        """What a listener is told first: the sweeps that run, and the trials it missed; the newest trial."""
        try:
            with self._database.look() as look:
                running = [sweep_row(look.catalogue, sweep) for sweep in look.catalogue.running]
                told = [message("running", {"sweeps": running})]
                newest = look.catalogue.last_trial
                if after is not None and after < newest:
                    lines = look.ask(trials_between, after, newest, _MISSED)
                    told += [message("trial", trial_row(look.catalogue, line), line.id) for line in lines]
                return told, newest
        except TunerError as error:
            return [message("trouble", {"error": str(error)})], None

    async def _watch(self) -> None:
        while self._listeners:
            for text in await asyncio.to_thread(self._news):
                for queue in tuple(self._listeners):
                    if queue.qsize() > _QUEUED:
                        # It does not read: it is let go, and comes back with the id it saw last.
                        self._listeners.discard(queue)
                        queue.put_nowait(None)
                    else:
                        queue.put_nowait(text)
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(EVERY_S)
            if self._closed:
                return

    def _news(self) -> list[str]:
        seen = self._seen
        try:
            with self._database.look() as look:
                told = []
                if seen.trouble:
                    seen.trouble = ""
                    told.append(message("trouble", {"error": None}))
                # Of the catalogue, which may be a moment old: its counts and names are those of these trials.
                newest = look.catalogue.last_trial
                if seen.trial is None or newest < seen.trial:  # the first look, or another database
                    seen.trial, seen.sweeps = newest, {}
                lines = look.ask(trials_between, seen.trial, newest) if newest > seen.trial else ()
                told += [message("trial", trial_row(look.catalogue, line), line.id) for line in lines]
                seen.trial = max([seen.trial, *(line.id for line in lines)])
                return told + self._of_sweeps(look.catalogue)
        except TunerError as error:
            if seen.trouble == str(error):
                return []
            seen.trouble = str(error)
            return [message("trouble", {"error": seen.trouble})]

    def _of_sweeps(self, catalogue: Any) -> list[str]:
        seen, told = self._seen.sweeps, []
        running = {sweep.id: sweep_row(catalogue, sweep) for sweep in catalogue.running}
        gone = [catalogue.sweeps[i] for i in seen if i not in running and i in catalogue.sweeps]
        ended = {sweep.id: sweep_row(catalogue, sweep) for sweep in gone}
        for number, row in {**running, **ended}.items():
            if seen.get(number) != row:
                told.append(message("sweep", row))
        self._seen.sweeps = running
        return told
