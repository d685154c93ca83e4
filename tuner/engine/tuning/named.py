"""The configurations that a user names: to be measured as they are, or for a search to begin with.

What is left out of one is as in its kernel's default (`core/default_config.py`). What is no configuration of
its kernel at the workload is refused before anything is measured.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from tuner import registry
from tuner.core.brief import brief
from tuner.core.default_config import default_config
from tuner.core.digest import canonical_json
from tuner.core.errors import InvalidConfig, InvalidSetting, TunerError, UnknownName
from tuner.core.kernel import Kernel
from tuner.core.space import Config, SearchSpace, Value
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.engine.tuning.budget import Budget
from tuner.engine.tuning.choice import GIVEN
from tuner.engine.tuning.plan import Plan
from tuner.interchange.named_configs import NamedConfig

Note = Callable[[str], None]
_MOST_REASONS = 6
_LONGEST_TEXT = 400


def by_kernel(
    given: Sequence[NamedConfig], kernels: Sequence[str], workload: Workload, target: Target, note: Note
) -> dict[str, list[Config]]:
    """The configurations, by kernel.

    Records of measurements, which say their workload, may be of a whole database: those of other workloads,
    of libraries (which take part anyway) and of kernels that are not asked for or cannot serve here are left
    out, and a note says so. Anything else that does not fit is an error.

    Args:
        given: as somebody named them.
        kernels: names that were asked for; with exactly one, a configuration that says no kernel is its.
        workload, target: what is measured, and what it is compiled for.
        note: is told what is left out.

    Raises:
        UnknownName: there is no such kernel of the operator.
        TunerError: it is not clear which kernel a configuration is of, or it is not asked for, or nothing is
            left.
    """
    known = {kernel.name: kernel for kernel in registry.kernels_of(workload.operator, target.kind)}
    kernels = list(dict.fromkeys(kernels))  # one that is asked for twice is one
    found: dict[str, list[Config]] = {}
    left_out: Counter[str] = Counter()
    for each in given:
        name = each.kernel or (kernels[0] if len(kernels) == 1 else "")
        if each.workload and (why := _why_not(each, name, known, kernels, workload, target)):
            left_out[why] += 1
            continue
        if not name:
            raise TunerError(f"{each.where} is of no kernel: name one kernel, or write KERNEL:P=V,Q=W")
        if name not in known:
            raise UnknownName(f"kernel of {workload.operator} on {target.kind}", name, list(known))
        if kernels and name not in kernels:
            raise TunerError(f"{each.where} is of {name}; the kernels asked for are {', '.join(kernels)}")
        if known[name].baseline:
            raise TunerError(
                f"{each.where} is of {name}, a library, which has no configurations to choose: it is "
                "measured without one, unless libraries are left out (--no-baselines)"
            )
        found.setdefault(name, []).append(each.config)
    said = ", ".join(f"{count} {why}" for why, count in left_out.most_common(_MOST_REASONS))
    said += ", ..." if len(left_out) > _MOST_REASONS else ""
    if not found:
        raise TunerError(f"no configuration for {workload.key} is named: there are {said or 'none'}")
    if said:
        note(f"configurations that are left out: {said}")
    return found


def _why_not(
    record: NamedConfig, name: str, known: Mapping[str, Kernel], kernels: Sequence[str], workload: Workload,
    target: Target,
) -> str:  # fmt: skip
    """Why a record of a measurement is left out; empty where it is not."""
    if record.workload != workload.key:
        return f"of {brief(record.workload, 200)[1:-1]}"
    of = f"of {brief(name, 200)[1:-1]}"
    kernel = known.get(name)
    if kernel is None:
        return f"{of}, which is no kernel of {workload.operator} on {target.kind}"
    if kernel.baseline:
        return f"{of}, which is a library"
    if kernels and name not in kernels:
        return f"{of}, which is not asked for"
    reason = kernel.unavailable() or kernel.unsupported(workload, target)
    return f"{of}, which cannot serve here ({reason})" if reason else ""


def with_named(
    plan: Plan, given: Mapping[str, Sequence[Config]], kernels: Sequence[Kernel], workload: Workload,
    target: Target, exactly: bool, note: Note,
) -> Plan:  # fmt: skip
    """The plan with these configurations, all their parameters filled in, each once, in the order given.

    Args:
        plan: how the kernels would be tuned.
        given: configurations by kernel.
        kernels: that take part.
        workload, target: what they are measured at and compiled for.
        exactly: whether these are measured and no others; else they are what the searches begin with.
        note: is told what was filled in, and how many were named twice.

    Raises:
        InvalidConfig: one is none of its kernel at this workload; names the parameter or the constraint.
        InvalidSetting: fewer trials than configurations to begin with.
        TunerError: a kernel takes no part or is a library; with `exactly`, a kernel has no configuration, or
            is to be given up before all are measured.
    """
    tuned = {kernel.name: kernel for kernel in kernels if not kernel.baseline}
    there = ", ".join(sorted(tuned)) or "none"
    if others := sorted(given.keys() - tuned.keys()):
        raise TunerError(f"{others[0]} has no configurations to choose: the kernels tuned here are {there}")
    if exactly and (lacking := sorted(tuned.keys() - given.keys())):
        raise TunerError(f"no configuration of {lacking[0]} is named: name one, or leave the kernel out")
    if exactly and plan.give_up_after is not None:
        raise TunerError(
            "named configurations are all measured: no kernel can be given up after some of them"
        )
    named = {}
    for name, configs in given.items():
        space = tuned[name].space(workload, target)
        named[name] = _completed(
            f"{name} at {workload.key}", space, configs, plan.defaults.get(name), note
        )  # fmt: skip
        trials, count = plan.budget.trials, len(named[name])
        if not exactly and trials is not None and trials < count:
            raise InvalidSetting("trials", f"is at least {count}, as many as are named of {name}", trials)
    if exactly:
        return replace(plan, searcher=GIVEN, budget=Budget(), configs=named)
    return replace(plan, starts=named)


def _completed(
    what: str, space: SearchSpace, configs: Sequence[Config], default: Config | None, note: Note
) -> tuple[Config, ...]:
    """The configurations of one kernel; `what` is said of in messages."""
    usual: Config = {}
    whole: dict[str, Config] = {}
    filled: dict[str, Value] = {}
    for number, config in enumerate(configs, 1):
        missing = [name for name in space.names if name not in config]
        if missing and not usual:
            usual = default_config(space, default)
        added = {name: usual[name] for name in missing}
        try:
            checked = space.check({**config, **added})
        except InvalidConfig as error:
            place = f"configuration {number} of {len(configs)}, " if len(configs) > 1 else ""
            rest = f" (left out, so as in the default: {_text(added)})" if added else ""
            raise InvalidConfig(f"{what}: {place}{_text(config)}: {error}{rest}") from None
        whole.setdefault(canonical_json(checked), checked)
        filled |= added
    if filled:
        note(f"{what}: what a configuration leaves out is as in the default: {_text(filled)}")
    if twice := len(configs) - len(whole):
        note(f"{what}: {len(whole)} configurations are measured: {twice} of {len(configs)} were named before")
    return tuple(whole.values())


def _text(config: Config) -> str:
    text = " ".join(f"{brief(name)[1:-1]}={brief(value)}" for name, value in config.items()) or "(none)"
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 3]}..."
