"""Models are loaded on a thread that ends, with OpenMP's threads told not to spin for long."""

import os
import threading

import pytest

from tuner.model.serving.teams import apart, spin_briefly


def test_a_function_called_apart_gives_what_it_gives_and_its_thread_has_ended() -> None:
    assert apart(threading.current_thread).is_alive() is False

    def fails() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError, match="x"):
        apart(fails)


def test_what_a_user_says_of_spinning_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    spin_briefly()
    assert "GOMP_SPINCOUNT" not in os.environ
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    spin_briefly()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
