"""The process of the model beside another one: reads what to run from its input, answers on its output."""

import json
import os
import select
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

from tuner.core.errors import TunerError


def main() -> None:
    """Prepares the model that the first line asks for, then obeys `run NAME` and `stop` until they end."""
    # Libraries print: answers have a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        ways = _ways(json.loads(sys.stdin.readline()))
    except TunerError as error:
        _say(answers, {"error": str(error)})
        return
    _say(answers, {"names": list(ways)})
    while line := sys.stdin.readline():
        call = ways[line.removeprefix("run ").strip()]
        call()
        _say(answers, {"running": True})
        taken: list[float] = []
        while not select.select([sys.stdin], [], [], 0)[0] or not taken:
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
        if not sys.stdin.readline():
            return
        _say(answers, {"calls": taken})


def _ways(asked: dict[str, Any]) -> dict[str, Callable[[], Sequence[Any]]]:
    from tuner.engine.candidate.devices import default_device
    from tuner.model.comparing import check
    from tuner.model.comparison import contestants_of
    from tuner.model.reading import graph_of, prepared
    from tuner.model.runtime import random_inputs
    from tuner.store.store import open_store

    path, dims = Path(asked["path"]), asked["dims"]
    model = prepared(path, dims, None, weights=True)
    graph = graph_of(model, path, dims)
    inputs = random_inputs(graph, 1)
    with open_store(asked["db"], read_only=True) as store:
        found, *_ = contestants_of(model, graph, inputs, store, default_device(None), asked["threads"])
    right, _ = check(found, inputs.values())
    return {contestant.name: contestant.call for contestant, _ in right}


def _say(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
