"""Experiments: TOML files that say which implementations to compare on which shapes.

title = "GEMM on this machine's processor"
operator = "gemm"
shapes = ["1024x1024x1024"]     # each one a table and a picture
dtype = "f32"                   # optional, as is all that follows; dtypes = ["f32", "f16"] for several
kernels = ["cpp_naive", "cpp_packed", "tir_packed"]   # default: all that can serve
workloads = ["resnet50"]        # in place of shapes, or beside them: the layers of models
baselines = true                # libraries, where they are installed
searcher = "auto"
seed = 0
threads = 2                     # default: all cores; [1, 2, 4] for a campaign with each of them
on_paper = "cuda:sm_90"         # its kernels are compiled, emulated and ranked where no such device is
device = "cuda:0"               # default: this machine's CPU
target = "cuda:sm_90"           # the device must run its code; with no_device = true no device is needed:
no_device = true                # candidates are compiled, emulated and ranked, nothing is measured
cache = "warm"
sustained = 2.0                 # seconds a candidate keeps the device busy before it is timed; default 0
lock_clock = 1410               # MHz that a GPU's clock is held at meanwhile; default: it goes as it likes
output = "results/gemm_demo"    # folder of the pictures, relative to the working folder
recordings = ["spaces/a.t4.json.gz"]   # in place of shapes: recorded spaces beside the file, on which
searchers = ["random", "auto"]         # these are compared, with
seeds = 10                             # so many seeds each; [budget] trials each

[budget]                        # of each kernel
trials = 100
seconds = 60
patience = 50
give_up_after = 10              # trials after which a kernel far behind another one is given up

[final]
rounds = 25
finalists = 2
within = 2.0                    # leave out what the sweeps found more than so many times slower than the best
"""

import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner import registry
from tuner.core.brief import brief
from tuner.core.device import Device
from tuner.core.errors import InvalidSetting, TunerError
from tuner.core.measurement import Evidence
from tuner.core.protocol import USER_NAMES, Protocol
from tuner.core.space import Config
from tuner.core.toml_text import MAX_CHARS, parse_toml
from tuner.core.workload import Workload
from tuner.engine.candidate.described import described
from tuner.engine.candidate.devices import find_device
from tuner.engine.tuning import campaign
from tuner.engine.tuning.budget import Budget
from tuner.engine.tuning.observer import Observer
from tuner.engine.tuning.series import SeriesLayer, layers_of, run_series

if TYPE_CHECKING:
    from tuner.store.store import Store


@dataclass(frozen=True)
class Experiment:
    """A comparison of implementations; see the module's text for the file.

    Attributes:
        moved: whether the user named another place than the file's: then kernels for it take the place of
            those named for another kind of target only.
        defaults, rerun: from the command line too.
    """

    title: str
    operator: str = ""
    shapes: tuple[str, ...] = ()
    workloads: tuple[str, ...] = ()
    dtype: str = "f32"
    dtypes: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    baselines: bool = True
    searcher: str = "auto"
    seed: int = 0
    threads: int | None = None
    thread_counts: tuple[int, ...] = ()
    on_paper: str | None = None
    device: str | None = None
    target: str | None = None
    no_device: bool = False
    cache: str = "warm"
    sustained: float | None = None
    lock_clock: int | None = None
    output: str = "results"
    budget: Budget = field(default_factory=lambda: Budget(trials=100))
    give_up_after: int | None = None
    final: Mapping[str, float] = field(default_factory=dict)
    recordings: tuple[str, ...] = ()
    searchers: tuple[str, ...] = ("random", "auto")
    seeds: int = 10
    defaults: Mapping[str, Config] = field(default_factory=dict)
    rerun: bool = False
    moved: bool = False

    def on(self) -> Device:
        """The device that is measured on, or the description of one that is not here.

        Raises:
            UnknownName: there is no such device or target.
            Unavailable: there is none here, or none that runs the target.
            TunerError: `no_device` without a target that has a model, or with a device.
        """
        if self.no_device:
            return described(self.target, self.device)
        return find_device(self.device, self.target)

    def layers(self) -> list[SeriesLayer]:
        """The workloads of the shapes, then those of the sets.

        Raises:
            InvalidWorkload: a shape is wrong.
            UnknownName: there is no such operator or set.
        """
        found = []
        for dtype in self.dtypes or (self.dtype,):
            if self.shapes:
                operator = registry.operator(self.operator)
                found += [SeriesLayer(operator.parse(shape, dtype)) for shape in self.shapes]
            if self.workloads:
                found += layers_of(self.workloads, self.operator or None, dtype)
        return found


_TYPES: dict[str, tuple[type, ...]] = {
    "title": (str,), "operator": (str,), "shapes": (list,), "workloads": (list,), "dtype": (str,),
    "dtypes": (list,), "on_paper": (str,), "recordings": (list,), "searchers": (list,), "seeds": (int,),
    "kernels": (list,), "baselines": (bool,), "searcher": (str,), "seed": (int,), "threads": (int, list),
    "device": (str,), "target": (str,), "no_device": (bool,), "cache": (str,), "sustained": (int, float),
    "lock_clock": (int,), "output": (str,),
    "budget": (dict,), "final": (dict,),
}  # fmt: skip
_TABLES: dict[str, dict[str, tuple[type, ...]]] = {
    "budget": {"trials": (int,), "seconds": (int, float), "patience": (int,), "give_up_after": (int,)},
    "final": {"rounds": (int,), "finalists": (int,), "within": (int, float)},
}

_NAMES: dict[type, str] = {
    str: "text", list: "a list of texts", dict: "a table", bool: "true or false", int: "an integer",
    float: "a number",
}  # fmt: skip


# What is longer, or has line ends, could be written to result.json, and would not be read back.
_LONGEST = 1000


def _check(place: str, values: Mapping[str, Any], known: Mapping[str, tuple[type, ...]]) -> None:
    import difflib

    for key, value in values.items():
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            advice = f"did you mean {close[0]!r}? " if close else ""
            raise TunerError(f"{place}: unknown key {key!r}: {advice}keys are {', '.join(known)}")
        wanted = known[key]
        if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
            names = " or ".join(_NAMES[kind] for kind in wanted)
            raise TunerError(f"{place}: {key} is {names}, not {brief(value)}")
        if isinstance(value, str) and not (len(value) <= _LONGEST and value.isprintable()):
            raise TunerError(
                f"{place}: {key} is one line of at most {_LONGEST} characters, not {brief(value)}"
            )
        if key == "threads" and isinstance(value, list):
            if not (value and all(type(item) is int and item > 0 for item in value)):
                raise TunerError(f"{place}: threads is a number, or a list of some, not {brief(value)}")
        elif isinstance(value, list) and not (value and all(isinstance(item, str) for item in value)):
            raise TunerError(f"{place}: {key} is a list of at least one text, not {brief(value)}")
        if isinstance(value, list) and (twice := next((v for v in value if value.count(v) > 1), None)):
            raise TunerError(f"{place}: {key} has {brief(twice)} twice: it would be measured twice")


def _text(path: Path) -> str:
    """A file's text, at most as much of it as `parse_toml` takes."""
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe would keep us waiting, a device never ends
        raise TunerError(f"{path}: it is no file")
    with path.open("rb") as file:
        return file.read(4 * MAX_CHARS + 1).decode("utf-8")


def _check_together(path: Path, values: Mapping[str, Any]) -> None:
    """Raises `TunerError` for keys that lack each other, exclude each other, or lead out of their folder."""
    if not {"shapes", "workloads", "recordings"} & values.keys():
        raise TunerError(f"{path}: missing key 'shapes' or 'workloads', or 'recordings' for searchers")
    if "recordings" in values and {"shapes", "workloads", "kernels"} & values.keys():
        raise TunerError(f"{path}: recordings name their kernel and shape: leave out shapes and kernels")
    if "shapes" in values and "operator" not in values:
        raise TunerError(f"{path}: missing key 'operator'")
    if "dtype" in values and "dtypes" in values:
        raise TunerError(f"{path}: give dtype or dtypes, not both")
    if "workloads" in values and ("on_paper" in values or isinstance(values.get("threads"), list)):
        raise TunerError(f"{path}: the layers of models are one campaign: no on_paper, one number of threads")
    # A file of somebody else's does not choose where on this machine it writes; the command line does.
    output = Path(values.get("output", "results"))
    if output.is_absolute() or ".." in output.parts:
        raise TunerError(f"{path}: output is a folder below the working folder, not '{output}': use --output")
    for name in values.get("recordings", ()):
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise TunerError(f"{path}: recordings lie beside the file or below, not at '{name}'")


def _check_values(experiment: Experiment) -> None:
    """Raises `TunerError` for a number that is none of its kind, or a name that is not registered."""
    _plan(experiment)
    Protocol(sustained_s=experiment.sustained or 0.0, clock_mhz=experiment.lock_clock or 0)
    registry.searcher(experiment.searcher)
    operators = dict.fromkeys(layer.workload.operator for layer in experiment.layers())
    if experiment.no_device:
        experiment.on()
    if experiment.on_paper is not None:
        described(experiment.on_paper)
    for name in experiment.searchers if experiment.recordings else ():
        if not name.startswith("kernel_tuner:"):
            registry.searcher(name)
    if experiment.seeds < 1:
        raise InvalidSetting("seeds", "is at least 1", experiment.seeds)
    for name in experiment.kernels:
        if registry.kernel(name).operator not in operators:
            raise TunerError(f"kernel {name} does not compute {' or '.join(operators)}")


def read_experiment(
    path: Path, trials: int | None = None, place: Mapping[str, Any] | None = None
) -> Experiment:
    """Reads and checks an experiment file.

    Args:
        path: a TOML file.
        trials: replaces the file's number of trials.
        place: `device`, `target` and `no_device` that replace the file's, with `moved`; `defaults`, `rerun`.

    Raises:
        InvalidSetting: `trials` is no number of them.
        TunerError: the file cannot be read or is not TOML, a key is unknown, missing or of the wrong
            type, a name is not registered, a shape is wrong.
    """
    Budget(trials=trials)  # before the file: it is not to blame for the option
    try:
        values = parse_toml(_text(path))
    except OSError as error:
        raise TunerError(f"{path}: {error.strerror}") from None
    except ValueError as error:  # not in UTF-8, or not TOML
        raise TunerError(f"{path}: not a TOML file: {error}") from None
    _check(str(path), values, _TYPES)
    for table, known in _TABLES.items():
        _check(f"{path} [{table}]", values.get(table, {}), known)
    _check_together(path, values)
    budget = values.pop("budget", {"trials": 100})
    give_up_after = budget.pop("give_up_after", None)
    if give_up_after is not None and give_up_after < 1:
        raise TunerError(f"{path} [budget]: give_up_after is at least 1 trial, not {give_up_after}")
    if trials is not None:
        budget = {**budget, "trials": trials}
    if isinstance(values.get("threads"), list):
        values["thread_counts"] = values.pop("threads")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()} | dict(place or {})
    names = {f.name for f in fields(Experiment)}
    try:
        experiment = Experiment(
            **{"title": path.stem, **{k: v for k, v in values.items() if k in names}},
            budget=Budget(**budget),
            give_up_after=give_up_after,
        )
        _check_values(experiment)
    except InvalidSetting as error:
        raise TunerError(f"{path}: {error.called(USER_NAMES.get(error.setting, error.setting))}") from None
    except TunerError as error:
        raise TunerError(f"{path}: {error}") from None
    return experiment


def run_experiment(
    experiment: Experiment, store: "Store", observer: Observer, name: str = "", command: str = ""
) -> dict[Workload, campaign.CampaignOutcome]:
    """Runs the campaign of an experiment, workload by workload.

    Sweeps that the store holds finished, of the same kernel source, device, protocol and at least as
    many trials, are reused; unfinished ones are resumed. The final is always held anew, but for workloads
    that an interrupted run of the same experiment finished.

    Args:
        experiment, store, observer: what to run, where it is kept, who is told.
        name: of the experiment in the store: its file's without folder and ending.
        command: what makes it again.

    Raises:
        TunerError: anything a user can mend.
    """
    device = experiment.on()
    told: dict[str, Any] = {
        "threads": experiment.threads, "cache": experiment.cache, "sustained_s": experiment.sustained,
        "clock_mhz": experiment.lock_clock,
    }  # fmt: skip
    if device.evidence is not Evidence.MEASURED:
        told = {}  # nothing is timed
    protocol = campaign.default_protocol(device, **told)
    return run_series(
        experiment.layers(), campaign.Setting(device, protocol, _plan(experiment), store, observer),
        experiment.kernels, experiment.baselines,
        title=experiment.title, experiment=name, command=command, asked=_chosen(experiment),
        kind="network" if experiment.workloads else "comparison",
    )  # fmt: skip


def _chosen(experiment: Experiment) -> dict[str, Any]:
    """What the file says beyond the plan, for the record."""
    places = {"device": experiment.device, "target": experiment.target, "no_device": experiment.no_device}
    more = {"dtypes": list(experiment.dtypes)} if experiment.dtypes else {}
    told = {"dtype": experiment.dtype, "threads": experiment.threads, "cache": experiment.cache}
    return {**told, **more, **places}


def asked(experiment: Experiment) -> dict[str, Any]:
    """All that a campaign of this experiment is asked, as its record in the store says it."""
    baselines = experiment.baselines and not experiment.no_device
    kernels = {"kernels": list(experiment.kernels), "baselines": baselines}
    return {**_plan(experiment).as_dict(), **kernels, **_chosen(experiment)}


def _plan(experiment: Experiment) -> campaign.Plan:
    """How every kernel is tuned; raises `TunerError` for a number that is none of its kind."""
    return campaign.Plan(
        experiment.searcher,
        experiment.seed,
        experiment.budget,
        resume=not experiment.rerun,
        remeasure=experiment.rerun,
        finalists=int(experiment.final.get("finalists", 2)),
        rounds=int(experiment.final.get("rounds", 25)),
        reuse=not experiment.rerun,
        refresh_limits=True,
        give_up_after=experiment.give_up_after,
        final_within=experiment.final.get("within"),
        calibrated=True,
        defaults=experiment.defaults,
    )
