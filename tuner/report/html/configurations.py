"""A winner's configuration, with the command that shows it and the Python that loads it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuner.core.workload import Workload
from tuner.report.html.section import Section
from tuner.report.rows import ComparisonRow
from tuner.report.text import safe


@dataclass(frozen=True)
class Configuration:
    """One implementation that was tuned here.

    Attributes:
        kernel: its name.
        trial: its trial, `t42`.
        values: parameter by parameter.
        command: of the shell.
        python: the lines that load it; empty where it cannot be: it was not measured, or its operator is
            not the lab's.
    """

    kernel: str
    trial: str
    values: Mapping[str, Any]
    command: str
    python: str


def configurations(section: Section, database: str) -> list[Configuration]:
    """Of each implementation with parameters, the fastest first.

    Args:
        section: of the page.
        database: where it is stored, for the commands; empty for the default one.
    """
    rows = sorted(section.comparison.rows, key=lambda row: row.interval.mid)
    return [_of(row, section, database) for row in rows if row.config]


def _of(row: ComparisonRow, section: Section, database: str) -> Configuration:
    from tuner import registry

    workload, context = section.context.workload, section.context
    known, measured = workload.operator in registry.operators(), row.evidence == "measured"
    parts = ["tuner best", _quoted(workload.operator)]
    if known:
        parts.append(f"--shape {_quoted(workload.shape)}")
    if known and workload.dtype != "f32":
        parts.append(f"--dtype {workload.dtype}")
    parts += [f"--kernel {_quoted(row.kernel)}", f"--threads {context.threads}"]
    if not measured:
        parts.append(f"--evidence {row.evidence}")
    if database:
        parts.append(f"--db {_quoted(database)}")
    trial = f"t{row.trial_id}" if row.trial_id is not None else ""
    return Configuration(
        row.implementation, trial, {k: safe(str(v)) for k, v in row.config.items()}, " ".join(parts),
        python(workload, row.kernel, database, section.loads_on) if known and measured else "",
    )  # fmt: skip


def python(workload: Workload, kernel: str, database: str, device: str = "") -> str:
    """The lines of a program that load a kernel for a workload, and call it.

    Args:
        workload, kernel: which.
        database: where its configuration is stored; empty for the default one.
        device: that runs it, where it is not this machine's CPU: `cuda:0`.
    """
    values = [f"{name}={size}" for name, size in workload.dims]
    values += [f"{name}={value!r}" for name, value in workload.options]
    if workload.dtype != "f32":
        values.append(f"dtype={workload.dtype!r}")
    values.append(f"kernel={kernel!r}")
    if device:
        values.append(f"device={device!r}")
    if database:
        values.append(f"db={database!r}")
    inputs = ", ".join(_inputs(workload))
    name = workload.operator if workload.operator.isidentifier() else "kernel"
    return (
        f"import tuner\n\n{name} = tuner.load({workload.operator!r}, {', '.join(values)})\n"
        f"result = {name}({inputs})  # NumPy arrays"
    )


def _inputs(workload: Workload) -> list[str]:
    from tuner import registry

    operator = registry.operators().get(workload.operator)
    try:
        return (
            [tensor.name for tensor in operator.signature(workload) if not tensor.output] if operator else []
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return []


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(safe(text))
