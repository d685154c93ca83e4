"""Fuzz targets, one a kind of input: how to make one, and what the lab must do with it.

A target's judge lets an input pass that is taken, or refused by the error of its kind in one printable line;
whatever else is raised is a fault.
"""

import atexit
import json
import random
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.engine.test_answers import BUILT, FAILED, TRIAL
from tests.fuzz import mutate
from tests.interchange.spaces import kernel_tuner_cache, t4
from tests.interchange.test_ktt import ktt_own_t4, ktt_script_t4, results
from tests.interchange.test_metaschedule import PROGRAM, record
from tuner import registry
from tuner.cli.check import parse_config
from tuner.core.errors import InterchangeError, InvalidConfig, InvalidSpace, TunerError
from tuner.core.measurement import Calibration, Evidence, Measurement
from tuner.core.space import Constraint, Parameter, SearchSpace
from tuner.core.target import Target
from tuner.engine.building import answers
from tuner.engine.processes.channel import ChannelGarbage, decode
from tuner.engine.tuning.experiment import read_experiment
from tuner.engine.tuning.named import by_kernel, with_named
from tuner.engine.tuning.plan import Plan
from tuner.interchange import read_recorded
from tuner.interchange.metaschedule import RECORDS, WORKLOADS, read_database
from tuner.interchange.named_configs import read_named
from tuner.interchange.trials import from_trials, to_trials

ROOT = Path(__file__).resolve().parents[2]
BRACKETS = (("[", "]"), ("{", "}"), ('{"a":', "}"), ("[[],", "]"), ("(", ")"), ("-", ""), ("not ", ""))


@dataclass(frozen=True)
class Kind:
    """A kind of input: `make` from a generator, `judge` raises where it is handled wrongly."""

    make: Callable[[random.Random], Any]
    judge: Callable[[Any], None]


def one_line(error: Exception, kinds: tuple[type[Exception], ...]) -> None:
    """An error is of its kind, and one printable line of reasonable length."""
    if not isinstance(error, kinds):
        raise error
    message = str(error)
    assert message.isprintable() and 0 < len(message) < 2000, f"no line: {message[:200]!r}"


def refused_by(*kinds: type[Exception]) -> Callable[[Callable[[Any], Any]], Callable[[Any], None]]:
    """A judge of a function that takes an input or refuses it."""

    def wrap(function: Callable[[Any], Any]) -> Callable[[Any], None]:
        def judge(given: Any) -> None:
            try:
                function(given)
            except Exception as error:
                one_line(error, kinds)

        return judge

    return wrap


# What a child answers: bytes on its socket, then a shape.
_ANSWERS = [TRIAL, FAILED, BUILT, {"ok": True, "calls": 3}, {"ok": False, "error": "wrong"}]


def _message(rng: random.Random) -> bytes:
    if rng.random() < 0.6:
        body = mutate.dumped(mutate.value(rng, _ANSWERS))
    else:
        body = mutate.text(rng, [json.dumps(a) for a in _ANSWERS], BRACKETS)
    return body.encode("utf-8", "surrogatepass")


@refused_by(ChannelGarbage, answers.UnusableAnswer)
def _answer(body: bytes) -> None:
    raw = decode(body)
    refusals = []
    for check in (_measured, lambda r: answers.build_answer(r, 1), answers.greeting, answers.agreement,
                  answers.seconds, lambda r: answers.numbers(r, "peaks")):  # fmt: skip
        try:
            check(raw)
        except answers.UnusableAnswer as error:
            refusals.append(error)
    if refusals:
        raise refusals[0]


def _measured(raw: Any) -> None:
    answer = answers.trial_answer(raw)
    before = answer["calibration"]
    measurement = Measurement(
        answer["status"], Evidence.MEASURED, tuple(answer["samples"]), answer["error"],
        Calibration(1e-6, *before) if before else None, 0.1, answer["run_s"], answer["max_error"],
        answer["metrics"], "digest",
    )  # fmt: skip
    # What is done with it: ranked, stored as JSON, printed.
    assert measurement.time_s is None or measurement.time_s > 0
    json.dumps([list(measurement.samples), dict(measurement.metrics)], allow_nan=False)
    measurement.error.encode()


_RECORDINGS = [kernel_tuner_cache(), t4(), results(), ktt_own_t4(), ktt_script_t4()]


def _recording(rng: random.Random) -> str:
    if rng.random() < 0.5:
        return mutate.dumped(mutate.value(rng, _RECORDINGS))
    return mutate.text(rng, [json.dumps(r) for r in _RECORDINGS], BRACKETS)


_FOLDER = Path(tempfile.mkdtemp(prefix="tuner-fuzz-"))
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)


@refused_by(InterchangeError)
def _read(text: str) -> None:
    path = _FOLDER / "recorded.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    recorded = read_recorded(path)
    # All that an import does: a space, trials, their identities, a workload, and back.
    recorded.space.encode([t.config for t in recorded.trials])
    trials = to_trials(recorded)
    json.dumps([[t.key.digest, t.key.workload.key, t.created_at.isoformat()] for t in trials])
    assert all(d < 2**63 for t in trials for _, d in t.key.workload.dims)
    from_trials(trials, {"model": recorded.device}, recorded.parameters)


def _database(rng: random.Random) -> tuple[str, str]:
    programs, records = PROGRAM, "\n".join([record(), record(times=[1e10])])
    if rng.random() < 0.2:
        programs = mutate.text(rng, [PROGRAM], BRACKETS)
    elif rng.random() < 0.5:
        records = "\n".join(mutate.dumped(mutate.value(rng, [json.loads(record())])) for _ in range(2))
    else:
        records = mutate.text(rng, [records], BRACKETS)
    return programs, records


@refused_by(InterchangeError)
def _read_database(given: tuple[str, str]) -> None:
    for name, text in zip((WORKLOADS, RECORDS), given, strict=True):
        (_FOLDER / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    for found in read_database(_FOLDER, lambda text: None):
        json.dumps(
            [found.target_name, found.target_digest, found.trace, list(found.samples)], allow_nan=False
        )


_HEADERS = [
    path.read_text().split("/*[tuner]\n", 1)[1].split("*/", 1)[0]
    for path in sorted((ROOT / "cuda_src").rglob("*"))
    if path.suffix in (".cpp", ".cu") and "/*[tuner]\n" in path.read_text()
]
# Some of what declarations take groups of entries from (`use`).
_SHARED = [
    ROOT / "cuda_src" / name
    for name in (
        "gemm/tiles.cuh",
        "gemm/blocks.cuh",
        "conv2d/implicit.cuh",
        "attention/decode.cuh",
        "gemm/epilogue.h",
    )
]
_LIMITS = {"cores": 2, "l1d_bytes": 2**15, "l2_bytes": 2**20, "l3_bytes": 2**23, "vector_bytes": 32}
_CPU = Target("cpu", "x86_64_v3", ("avx2", "fma"), _LIMITS)


def _header(rng: random.Random) -> tuple[str, str, str]:
    text = mutate.text(rng, _HEADERS, BRACKETS)
    return text, f'#include "{rng.choice(_SHARED)}"', rng.choice((".cpp", ".cu"))


@refused_by(TunerError)
def _declared(given: tuple[str, str, str]) -> None:
    text, include, suffix = given
    path = _FOLDER / f"kernel{suffix}"
    path.write_bytes(f"/*[tuner]\n{text}*/\n{include}\nint x;\n".encode("utf-8", "surrogatepass"))
    kernel = registry.source_kernel(path)
    operator = registry.operators().get(kernel.operator)
    if operator is None or not set(kernel.dtypes) & set(operator.dtypes):
        return
    workload = operator.parse(operator.example, next(d for d in kernel.dtypes if d in operator.dtypes))
    target = _CPU if "cpu" in kernel.target_kinds else _cuda()
    if kernel.unsupported(workload, target):
        return
    space = kernel.space(workload, target)
    if space.product_size > 10_000:
        return  # counted in seconds, which is right, and no matter of bad input
    config = next(iter(space), None)
    if config is not None:
        kernel.lower(workload, config, target)
        kernel.features(workload, config, target)


def _cuda() -> Target:
    from tuner.targets import cuda

    return cuda.target("cuda:sm_80")


_EXPRESSIONS = [
    "a * b <= 64", "a % 4 == 0 and b != 'x'", "ceildiv(n, a) * min(a, n, 3) < 2 ** b if a > 2 else not b",
    "a in (1, 2, 4) or (a << 2) // 3 >= log2(n)", "int(a / 3) + abs(-b) - max(a, b) <= (n & 7) >> 1",
    "-a * -b + 0.5 * n <= 1e3 and 1 <= a <= b < n",
]  # fmt: skip
_PARTS = ("a", "b", "n", "c", "1", "0", "2.5", "'x'", "9**9", "10**400", "(a)", "a*a*a", "1<<1000", "True",
          "min(a,b)", "-1", "1e308", "log2(0)", "a/0", "int(1e400)", "ceildiv(a,0)", "(1,2)", "[a]", "'x'*9",
          "abs('x')")  # fmt: skip
_OPERATORS = ("+", "-", "*", "//", "/", "%", "**", "<<", ">>", "&", "==", "<", ">=", "!=", " in ", " not in ",
              " and ", " or ", " if a else ", "|", "@", ":=", ".", ",")  # fmt: skip


def _expression(rng: random.Random) -> str:
    if rng.random() < 0.5:
        nests = (("(", ")"), ("-", ""), ("not ", ""), ("min(a,", ")"), ("a if a else ", ""))
        return mutate.text(rng, _EXPRESSIONS, nests)
    made = rng.choice(_PARTS)
    for _ in range(rng.choice((1, 2, 4, 8, 200))):
        part = rng.choice(_PARTS)
        made = rng.choice(
            ("{0}{1}{2}", "({0}){1}{2}", "{2}{1}({0})", "min({0},{2})", "-({0})", "not {0}")
        ).format(made, rng.choice(_OPERATORS), part)
    return made


@refused_by(InvalidSpace)
def _constrain(text: str) -> None:
    parameters = [Parameter("a", (1, 2, 4)), Parameter("b", (0, 3, 2**40)), Parameter("c", (0.5, 1e300))]
    space = SearchSpace(parameters, [Constraint("fuzz", text)], {"n": 2**31})
    configs = list(space)
    assert len(configs) == space.size if space.size is not None else True
    for config in [*configs[:2], {"a": 1, "b": 0, "c": 0.5}, {"a": 4, "b": 2**40, "c": 1e300}]:
        why = space.why_invalid(config)
        assert why is None or len(why) < 100_000


_EXPERIMENTS = [path.read_text() for path in sorted((ROOT / "experiments").glob("*.toml"))]
_EXPERIMENTS += ['operator = "gemm"\nshapes = ["8x8x8"]\nseed = 3\n[budget]\ntrials = 5\nseconds = 1.5\n'
                 "[final]\nrounds = 9\nwithin = 2.0\n"]  # fmt: skip


def _experiment(rng: random.Random) -> str:
    return mutate.text(rng, _EXPERIMENTS, (("[", "]"), ("{a=", "}"), ("a.", ""), ("[[", "]]")))


@refused_by(TunerError)
def _compare(text: str) -> None:
    path = _FOLDER / "experiment.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    read_experiment(path)


_CONFIGS = [
    "BLOCK=16 UNROLL=2 PAD=true MODE=fast",
    '{"BLOCK": 16, "UNROLL": 2.5, "PAD": true, "MODE": "fast"}',
]


@refused_by(InvalidConfig)
def _config(text: str) -> None:
    config = parse_config(text)
    space = SearchSpace([Parameter("BLOCK", (8, 16)), Parameter("MODE", ("fast", "slow"))])
    space.check(config)


_NAMED = [
    [{"BLOCK": 16, "MODE": "fast"}, {"BLOCK": 8, "MODE": "slow"}],
    [{"workload": "gemm/f32/m8-n8-k8", "kernel": "cpp_tiled", "config": {"TILE_M": 8}, "time_s": 1e-3}],
]


def _named(rng: random.Random) -> str:
    if rng.random() < 0.5:
        return mutate.dumped(mutate.value(rng, _NAMED))
    lines = "\n".join(json.dumps(each) for each in _NAMED[0])
    return mutate.text(rng, [lines, *map(json.dumps, _NAMED)], BRACKETS)


@refused_by(TunerError)
def _read_named(text: str) -> None:
    path = _FOLDER / "named.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    gemm = registry.operator("gemm").parse("8x8x8")
    found = by_kernel(read_named(path), ["cpp_tiled"], gemm, _CPU, lambda text: None)
    kernel = registry.kernel("cpp_tiled")
    with_named(Plan(), found, [kernel], gemm, _CPU, True, lambda text: None)


TARGETS = {
    "answer": Kind(_message, _answer),
    "recording": Kind(_recording, _read),
    "database": Kind(_database, _read_database),
    "header": Kind(_header, _declared),
    "expression": Kind(_expression, _constrain),
    "experiment": Kind(_experiment, _compare),
    "named": Kind(_named, _read_named),
    "config": Kind(
        lambda rng: mutate.text(rng, _CONFIGS, (("[", "]"), ('{"A":', "}"), ("A=[", "]"))), _config
    ),
}
