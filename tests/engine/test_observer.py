"""What an observer is told passes through whoever listens in between, methods that come later too."""

import inspect

from tuner.engine.tuning.observer import Observer, Relay


def test_a_relay_passes_on_everything_but_what_it_overrides() -> None:
    told: list[str] = []

    class Recorder(Observer):
        def __getattribute__(self, name: str) -> object:
            if name.startswith("_"):
                return object.__getattribute__(self, name)
            return lambda *values: told.append(name)

    class Quiet(Relay):
        def note(self, text: str) -> None:
            self._to.note(text.upper())
            told.append(text)

    methods = [name for name in vars(Observer) if not name.startswith("_")]
    assert len(methods) >= 5
    relay = Quiet(Recorder())
    for name in methods:
        values = len(inspect.signature(getattr(Observer, name)).parameters) - 1
        getattr(relay, name)(*"xyzuvw"[:values])
    assert told == [name for method in methods for name in ([method, "x"] if method == "note" else [method])]
