"""Sweeps served from recorded spaces on a simulated clock."""

import numpy as np
import pytest

from tuner import registry
from tuner.core.errors import InvalidConfig, InvalidSpace
from tuner.core.listed_space import ListedSpace
from tuner.core.measurement import Evidence, Status
from tuner.core.recorded import RecordedSpace, RecordedTrial
from tuner.core.searcher import Observation, Problem
from tuner.core.space import Parameter
from tuner.devices.replay import Replay

PARAMETERS = (
    Parameter("x", (1, 2, 4, 8)),
    Parameter("kind", ("a", "b", "c")),
    Parameter("pad", (False, True)),
)


def recorded() -> RecordedSpace:
    """Ten configurations, every fourth a failure; compiling takes 2 s, running 0.5 s."""
    trials = []
    for i in range(10):
        config = {"x": (1, 2, 4, 8)[i % 4], "kind": "abc"[i % 3], "pad": i >= 5}
        phases = {"compile": 2.0, "benchmark": 0.5, "framework": 9.0}
        if i % 4 == 3:
            trials.append(RecordedTrial(config, Status.BUILD_ERROR, error="no", phases={"compile": 2.0}))
        else:
            samples = (0.1 * (i + 1), 0.1 * (i + 2), 0.1 * (i + 9))
            trials.append(RecordedTrial(config, Status.OK, samples, sum(samples) / 3, phases=phases))
    return RecordedSpace("k", "Some GPU", (64,), PARAMETERS, tuple(trials), {"sms": 10.0})


def test_serves_what_was_recorded_and_moves_the_clock():
    replay = Replay(recorded())
    first = replay.measure({"x": 1, "kind": "a", "pad": False})
    assert first.evidence is Evidence.REPLAYED and first.samples == (0.1, 0.2, 0.9)
    assert first.time_s == 0.2
    assert replay.clock_s == 2.5  # the recorder's own overhead is not the tuner's
    failed = replay.measure({"x": 8, "kind": "a", "pad": False})
    assert failed.status is Status.BUILD_ERROR and failed.error == "no"
    assert replay.clock_s == 4.5


def test_serves_the_recorders_own_summary_on_request():
    measurement = Replay(recorded(), "objective").measure({"x": 1, "kind": "a", "pad": False})
    assert measurement.samples == (pytest.approx(0.4),)


def test_what_was_not_recorded_is_not_guessed():
    replay = Replay(recorded())
    with pytest.raises(InvalidConfig, match="not among the 10 configurations recorded"):
        replay.measure({"x": 1, "kind": "b", "pad": True})
    assert replay.clock_s == 0


def test_a_replayed_device_is_told_from_a_measured_one():
    replay = Replay(recorded())
    assert replay.target.name == "replay:some_gpu" and replay.target.limit("sms") == 10
    assert replay.fingerprint.startswith("replay:some_gpu:")
    assert replay.facts() == {"model": "Some GPU", "sms": 10.0}


def test_a_sweep_finds_the_recorded_optimum_by_exhausting_it():
    space = recorded()
    replay = Replay(space, "objective")
    searcher = registry.searcher("surrogate")(Problem(replay.space, budget=10))
    best = float("inf")
    while configs := searcher.ask(1):
        measurement = replay.measure(configs[0])
        best = min(best, measurement.time_s or best)
        searcher.tell([Observation(configs[0], measurement)])
    assert best == space.optimum_s
    assert replay.clock_s == 8 * 2.5 + 2 * 2.0


class TestListedSpace:
    """The configurations of a list, with all that a search space offers."""

    def configs(self):
        return [t.config for t in recorded().trials]

    def space(self) -> ListedSpace:
        return recorded().space

    def test_numbers_exactly_the_listed_ones(self):
        space = self.space()
        assert space.exact and space.size == 10
        listed = {tuple(c.values()) for c in self.configs()}
        assert {tuple(c.values()) for c in space} == listed
        assert [space.rank(space.at(i)) for i in range(10)] == list(range(10))
        assert list(space.index_rows()) == [space.indices(c) for c in space]
        for bad in (-1, 10):
            with pytest.raises(IndexError):
                space.at(bad)

    def test_repairs_to_the_nearest_listed_one(self):
        space = self.space()
        target = {"x": 1, "kind": "b", "pad": True}
        listed = [space.indices(c) for c in space]

        def distance(key) -> float:
            x, kind, pad = space.indices(target)
            return abs(key[0] - x) / 4 + (key[1] != kind) + (key[2] != pad)

        nearest = space.nearest(target)
        assert nearest in space
        assert distance(space.indices(nearest)) == min(distance(key) for key in listed)
        assert all(space.nearest(c) == c for c in self.configs())

    def test_neighbours_are_listed_and_differ_in_one(self):
        space, found = self.space(), 0
        for config in self.configs():
            for neighbour in space.neighbours(config):
                assert neighbour in space
                assert sum(config[n] != neighbour[n] for n in space.names) == 1
                found += 1
        assert found

    def test_encodes_as_any_space(self):
        rows = self.space().encode(self.configs())
        assert rows.shape == (10, len(self.space().feature_names)) and np.isfinite(rows).all()

    def test_duplicates_and_strangers_are_refused(self):
        with pytest.raises(InvalidSpace, match="listed twice"):
            ListedSpace(PARAMETERS, [*self.configs(), self.configs()[0]])
        with pytest.raises(InvalidConfig, match="x: 3 is not one of"):
            ListedSpace(PARAMETERS, [{"x": 3, "kind": "a", "pad": False}])
        with pytest.raises(InvalidConfig, match="missing parameter pad"):
            ListedSpace(PARAMETERS, [{"x": 1, "kind": "a"}])
        with pytest.raises(InvalidConfig, match="unknown parameter z"):
            ListedSpace(PARAMETERS, [{"x": 1, "kind": "a", "pad": False, "z": 1}])
        # True is 1 in Python, and another value here.
        with pytest.raises(InvalidConfig, match="pad: 1 is not one of"):
            ListedSpace(PARAMETERS, [{"x": 1, "kind": "a", "pad": 1}])
