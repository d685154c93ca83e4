"""The drop-in in several processes: what one has tried no other tries, and one that dies says why."""

import os
import signal
import time

import pytest

from tests.integrations.test_triton_autotune import add, trials
from tuner.integrations.triton.tuning import Rejected


def in_a_child(work):
    """Runs something in a forked process; a pipe it may write to, and what waits for its end."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reading)
            work(writing)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    return reading, lambda: os.waitpid(pid, 0)[1]


def test_what_another_process_has_timed_is_not_timed_again(lab, numbers):
    configs = [lab.config(32), lab.config(16)]
    reading, wait = in_a_child(lambda _: add(lab, lab.tuned(configs)[0], numbers))
    os.close(reading)
    assert wait() == 0
    kernel, bench = lab.tuned(configs)
    assert add(lab, kernel, numbers) == 0
    assert bench.timed == [] and kernel.best_config.kwargs["BLOCK"] == 16 and len(trials(lab)) == 2


def test_what_another_process_is_timing_is_waited_for(lab, numbers):
    configs = [lab.config(32), lab.config(16)]

    def slowly(writing):
        def milliseconds(config):
            os.write(writing, b".")
            time.sleep(0.3)
            return float(config["BLOCK"])

        add(lab, lab.tuned(configs, milliseconds=milliseconds)[0], numbers)

    reading, wait = in_a_child(slowly)
    os.read(reading, 1)  # the child has claimed both, and times the first
    kernel, bench = lab.tuned(configs)
    assert add(lab, kernel, numbers) == 0
    assert bench.timed == [] and len(trials(lab)) == 2 and wait() == 0
    os.close(reading)


def die(args):
    """A hook of a configuration that takes the process with it."""
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_configuration_that_ends_the_process_is_left_out_by_the_next(lab, numbers):
    bad = lab.triton.Config({"BLOCK": 16}, pre_hook=die)
    configs = [lab.config(64), bad, lab.config(32)]
    reading, wait = in_a_child(lambda _: add(lab, lab.tuned(configs)[0], numbers))
    os.close(reading)
    assert wait() == signal.SIGKILL
    kernel, bench = lab.tuned(configs)
    with pytest.warns(Rejected, match="BLOCK: 16.*the process that tried it died"):
        assert add(lab, kernel, numbers) == 0
    assert kernel.best_config.kwargs["BLOCK"] == 32 and len(bench.timed) == 2
    assert sorted(status for status, _ in trials(lab)) == ["crash", "ok", "ok"]
    again, other = lab.tuned(configs)
    assert add(lab, again, numbers) == 0 and other.timed == []
