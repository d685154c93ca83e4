"""Mutated and grammar-made inputs of every kind that comes from outside: no traceback, no hang, one line.

A failure names the input's number: `hunt(target.make, target.judge, 1, SEED, number)` makes it again.
"""

import resource
from pathlib import Path

import pytest

from tests.fuzz.mutate import hunt
from tests.fuzz.targets import TARGETS

SEED = 14
SHORT, LONG = 300, 100_000
# One input may not take what a machine has: 4 GiB on top of what the process has mapped.
_MEMORY = 4 * 2**30


@pytest.fixture
def bounded_memory():
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (mapped + _MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("name", TARGETS)
def test_a_few_hundred_of_each(name, bounded_memory):
    assert hunt(TARGETS[name].make, TARGETS[name].judge, SHORT, SEED) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", TARGETS)
def test_a_hundred_thousand_of_each(name, bounded_memory):
    assert hunt(TARGETS[name].make, TARGETS[name].judge, LONG, SEED + 1) == []


def test_found_before_numbers_of_400_digits_in_a_declaration():
    header = (
        'name = "a"\noperator = "gemm"\nentry = "a"\narguments = ["A"]\n{}\n[constraints]\nc = "{} * 2 < m"\n'
    )
    for table in (
        f"[parameters]\nX = [1, 1{'0' * 400}]",
        f"[options]\nbatch = 1{'0' * 400}\n[parameters]\nX = [1]",
    ):
        text = header.format(table, "X" if "batch" not in table else "batch")
        TARGETS["header"].judge((text, "", ".cpp"))
