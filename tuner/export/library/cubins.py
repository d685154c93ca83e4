"""GPU kernels beside a library: cubins, and a manifest of how each is launched for any size."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner import registry
from tuner.core.compute_capability import arch_for
from tuner.core.digest import digest_files
from tuner.core.operator import Operator
from tuner.core.scratch import Scratch
from tuner.core.source_kernel import SourceKernel
from tuner.core.workload import Workload
from tuner.export.library.plan import run_time_options
from tuner.export.provenance import entry_of
from tuner.store.records import BestRow
from tuner.targets import cuda

if TYPE_CHECKING:
    from tuner.store.store import Store

_EVIDENCE = ("measured", "predicted")
_SCALARS = ("int32", "int64", "float32", "struct")
_ABOUT = (
    "Load file, take entry, pass arguments in order: tensors and workspaces as device pointers, workspaces "
    "zeroed once and of one call at a time, maps by value as the CUtensorMap of their tensor "
    "(cuTensorMapEncodeTiled: dims and box, the contiguous dimension first, rows without gaps, swizzle in "
    "bytes, integers of element_bytes, zeros outside; a map with lower, upper and steps by "
    "cuTensorMapEncodeIm2col: the corners, the element strides of the dimensions between the first and the "
    "last, and box as channels and pixels). grid, block, shared_bytes, the bytes of workspaces and what maps"
    " hold are integer expressions over the dimensions and the run_time options; // divides and rounds down,"
    " ceildiv(a, b) up, X if C else Y picks. Of the entries of one operator, dtype, options and arch the one"
    " with these dims serves them, the one marked default every other size."
)


def write_cubins(folder: Path, name: str, workloads: Sequence[Workload], store: "Store") -> int:
    """Compiles the best CUDA C++ kernels of these workloads for the architectures they were tuned for.

    Measured times go before predicted ones; each entry says which its time is.

    Args:
        folder: of the package; gets `share/NAME/cuda/`, with `manifest.json` and the cubins.
        name: of the library.
        workloads: those of which nothing is stored for a GPU are left out.
        store: to read.

    Returns:
        How many cubins were written; with none, nothing is.

    Raises:
        BuildError, Unavailable: one cannot be compiled here.
        InvalidConfig: a stored configuration is none of its kernel.
    """
    chosen: dict[tuple[Workload, str], BestRow] = {}
    for operator in dict.fromkeys(w.operator for w in workloads):
        for kind in _EVIDENCE:
            for row in store.best(operator=operator, evidence=[kind]):
                kernel = registry.kernels().get(row.kernel.name)
                if row.workload not in workloads or not isinstance(kernel, SourceKernel):
                    continue
                if kernel.language != "nvrtc" or kernel.digest != row.kernel.digest:
                    continue
                place = row.workload, row.target
                known = chosen.get(place)
                if known is None or (known.evidence == kind and row.time_s < known.time_s):
                    chosen[place] = row
    if not chosen:
        return 0
    below = folder / "share" / name / "cuda"
    below.mkdir(parents=True, exist_ok=True)
    entries = [_entry(below, row) for row in chosen.values()]
    _mark_defaults(entries)
    manifest = {"format": "kernel-tuner-lab/cubins", "version": 1, "about": _ABOUT, "entries": entries}
    (below / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    return len({entry["file"] for entry in entries})


def _entry(place: Path, row: BestRow) -> dict[str, Any]:
    kernel, target = registry.kernel(row.kernel.name), cuda.target(row.target)
    assert isinstance(kernel, SourceKernel)
    kernel.require(row.workload, target)
    kernel.space(row.workload, target).check(row.config)  # a database may hold anything
    source = kernel.lower(row.workload, row.config, target)
    arch = arch_for(target.arch, source.options.get("requires", ()))
    with Scratch("cubin") as scratch:
        artifact = registry.builder_of(kernel, target).build(source, target, scratch)
        content = artifact.path.read_bytes()
        # Named by what it is: equal kernels of two workloads are one file.
        file = f"{kernel.name}-{arch}-{digest_files([artifact.path])[:16]}.cubin"
    (place / file).write_bytes(content)
    sizes = _sizes(kernel, row.workload)
    constants = {**kernel.constants(row.workload, target), **row.config}
    constants = {name: value for name, value in constants.items() if name not in sizes}
    workspaces = {name: e.fold(constants).text for name, e in kernel.workspace_rule.items()}
    arguments = [
        {"name": a.name, "kind": a.kind, **({"bytes": workspaces[a.name]} if a.kind == "workspace" else {}),
         **(_map(kernel, name, constants) if a.kind == "map" else {}),
         **({"value": a.value} if a.kind in _SCALARS and a.name not in sizes else {})}
        for name, a in zip(kernel.argument_names, source.arguments, strict=True)
    ]  # fmt: skip
    tensors = {
        spec.name: {"dtype": spec.dtype, "output": spec.output}
        for spec in registry.operator(row.workload.operator).signature(row.workload)
    }
    return {
        **entry_of(row), "file": file, "sha256": _sha256(content), "arch": arch, "entry": source.entry,
        "arguments": arguments, "tensors": tensors, "launch": _launch(kernel, constants),
        "any_size": _any_size(kernel, sizes, registry.operator(row.workload.operator)),
        "run_time": sorted(set(sizes) - {n for n, _ in row.workload.dims}), "default": False,
    }  # fmt: skip


def _sizes(kernel: SourceKernel, workload: Workload) -> list[str]:
    """What a launch rule may refer to: dimensions, and whole numbers that the kernel is told at run time."""
    free = run_time_options(kernel, registry.operator(workload.operator))
    whole = [name for name in free if type(kernel.options[name]) is int]
    return [*(name for name, _ in workload.dims), *sorted(whole)]


def _launch(kernel: SourceKernel, constants: Mapping[str, Any]) -> dict[str, Any]:
    rule = {name: expression.fold(constants).text for name, expression in kernel.launch_rule.items()}
    return {
        "grid": [rule.get(f"grid {i}", "1") for i in range(3)],
        "block": [rule.get(f"block {i}", "1") for i in range(3)],
        "shared_bytes": rule["shared_bytes"],
    }


def _map(kernel: SourceKernel, name: str, constants: Mapping[str, Any]) -> dict[str, Any]:
    """What a program tells the driver of the tensor of that argument, as its dimensions say."""
    rule = {key: expression.fold(constants).text for key, expression in kernel.map_rule.items()}
    found: dict[str, Any] = {
        what: [rule[key] for key in (f"{name} {what} {i}" for i in range(5)) if key in rule]
        for what in ("dims", "box", "lower", "upper", "steps")
        if f"{name} {what} 0" in rule
    }
    return {**found, "swizzle": rule[f"{name} swizzle"], "element_bytes": constants["element_bytes"]}


def _any_size(kernel: SourceKernel, sizes: Sequence[str], operator: Operator) -> bool:
    """Whether a program that knows dimensions and run-time options can launch it for any of them."""
    rules = [*kernel.launch_rule.values(), *kernel.workspace_rule.values(), *kernel.map_rule.values()]
    derived = set(operator.derived(operator.parse(operator.example, operator.dtypes[0])))
    told = {*operator.tensors, *operator.options, *sizes, *kernel.workspace_rule, *kernel.map_names}
    return (
        not kernel.restricted
        and all(name in told for name in kernel.argument_names)
        and not any(expression.names & derived for expression in rules)
    )


def _sha256(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()


def _mark_defaults(entries: list[dict[str, Any]]) -> None:
    """Of each class the entry of the largest problem that takes any size."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for entry in entries:
        options = tuple(sorted(entry["options"].items()))
        groups.setdefault((entry["operator"], entry["dtype"], options, entry["arch"]), []).append(entry)
    for members in groups.values():
        able = [entry for entry in members if entry["any_size"]]
        if able:
            operator = registry.operator(able[0]["operator"])
            largest = max(able, key=lambda e: operator.flops(Workload.from_key(e["workload"])))
            largest["default"] = True
