"""What a shared library holds: which compiled kernels, and which of them serves what."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tuner import registry
from tuner.core.default_config import default_config
from tuner.core.device import Device
from tuner.core.digest import digest
from tuner.core.errors import TunerError, Unavailable
from tuner.core.kernel import FROZEN, STRICT, Kernel, unfrozen
from tuner.core.operator import Operator
from tuner.core.source_kernel import SourceKernel
from tuner.core.space import Config
from tuner.core.target import Target
from tuner.core.workload import Option, Workload
from tuner.engine.tuning.campaign import default_protocol
from tuner.export.adapt import adapter
from tuner.export.library.chosen import LeftOut, choose_rows, embeddable
from tuner.export.local import read_local
from tuner.export.provenance import same_but_dims
from tuner.export.rule import make_rule
from tuner.export.serve import WITHIN
from tuner.export.tree import SIZE, Leaf, Node, Question
from tuner.store.records import BestRow

if TYPE_CHECKING:
    from tuner.store.store import Store

_LONGEST = 60
Dims = tuple[int, ...]


@dataclass(frozen=True)
class Variant:
    """One compiled kernel.

    Attributes:
        symbol: its name in the library.
        workload: what it is lowered for; its dimensions are arguments, unless it is `static`.
        target: whose features it is compiled with.
    """

    symbol: str
    kernel: Kernel
    workload: Workload
    config: Config
    target: Target

    @property
    def static(self) -> bool:
        """Whether dimensions and options are compiled in: it serves this very workload."""
        return not self.kernel.shape_generic

    @property
    def label(self) -> str:
        """Its kernel and configuration on one line: `cpp_packed MR=6 NR=16`; of a trace its digest."""
        values = ((name, str(value)) for name, value in self.config.items())
        shown = (f"{name}={v if len(v) <= _LONGEST else digest(v)}" for name, v in values)
        return " ".join([self.kernel.name, *shown])


@dataclass(frozen=True)
class Level:
    """Kernels of one class for processors with these features.

    Attributes:
        features: that a processor must have.
        exact: of tuned shapes, by their dimensions. A static one serves its own options only.
        tree: of the others; its leaves name places in `choices`.
        choices: what the tree picks from.
        default: beyond `ranges`.
        ranges: of each dimension, where the tree is asked.
    """

    features: tuple[str, ...]
    exact: Mapping[Dims, Variant]
    tree: Node
    choices: tuple[Variant, ...]
    default: Variant
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class OptionClass:
    """A dtype and the options that are fixed when a kernel is compiled.

    Attributes:
        fixed: every option that is not an argument of its kernels, with its value here.
        levels: the most demanding processor first; the last serves every one.
        options: all of them, as they were tuned.
        unusual: how many of them are not at their default.
    """

    dtype: str
    fixed: Mapping[str, Option]
    levels: tuple[Level, ...]
    options: Mapping[str, Option] = field(default_factory=dict)
    unusual: int = 0


@dataclass(frozen=True)
class OperatorPlan:
    """An operator's entry."""

    operator: Operator
    classes: tuple[OptionClass, ...]

    @property
    def variants(self) -> list[Variant]:
        """All its kernels, each once."""
        found: dict[str, Variant] = {}
        for one in self.classes:
            for level in one.levels:
                for variant in (*level.exact.values(), *level.choices, level.default):
                    found.setdefault(variant.symbol, variant)
        return list(found.values())


@dataclass(frozen=True)
class LibraryPlan:
    """A library.

    Attributes:
        rows: what was measured of what it holds, for its provenance.
        untuned: workloads asked for of which nothing is stored here.
        left: the fastest kernels of workloads that are not in it.
    """

    operators: tuple[OperatorPlan, ...]
    rows: tuple[BestRow, ...]
    untuned: tuple[Workload, ...]
    left: tuple[LeftOut, ...] = ()


def make_plan(
    workloads: Sequence[Workload], device: Device, store: "Store", levels: Sequence[Target]
) -> LibraryPlan:
    """Plans a library for these workloads, from what is stored of them on this device.

    Args:
        workloads: what programs will ask for; every other size of the same dtype and options is served too.
            A frozen one is what it is without that option: programs cannot say that weights stay the same.
        device: a CPU of this machine.
        store: to read.
        levels: targets, the device's own first and the least demanding last.

    Raises:
        TunerError: there are none, or nothing that can go into a library is stored of any of them.
    """
    wanted = list(dict.fromkeys(workloads))
    if not wanted:
        raise TunerError("no workload is named: a library holds one at least")
    rows, left = choose_rows(wanted, device, store, levels[0])
    untuned = tuple(w for w in wanted if w not in rows)
    if len(untuned) == len(wanted):
        said = [f"; {each.row.kernel.name} is stored, but {each.why}" for each in left[:1]]
        raise TunerError(
            "nothing of this is stored that a library can hold, C++ or TensorIR kernels measured here: "
            f"run 'tuner sweep {wanted[0].operator}' with a kernel of cuda_src first{''.join(said)}"
        )
    maker = _Maker(device, store, levels, rows)
    classes: dict[tuple[object, ...], list[Workload]] = {}
    for workload in wanted:
        if workload in rows:
            classes.setdefault(same_but_dims(unfrozen(workload)), []).append(workload)
    made: dict[str, list[OptionClass]] = {}
    for members in classes.values():
        made.setdefault(members[0].operator, []).append(maker.option_class(members))
    operators = tuple(
        OperatorPlan(registry.operator(name), _told_apart(found)) for name, found in made.items()
    )
    return LibraryPlan(operators, tuple(rows[w] for w in wanted if w in rows), untuned, tuple(left))


def _told_apart(classes: Sequence[OptionClass]) -> tuple[OptionClass, ...]:
    """The classes in the order to ask for them.

    Two that were tuned with different values of an option which kernels take at run time would be asked for
    alike: all but one, with the defaults where that was tuned, ask for every option. What differs in `strict`
    alone no caller can ask for: the default's kernels serve it.
    """
    alike: dict[tuple[object, ...], list[OptionClass]] = {}
    for one in classes:
        alike.setdefault((one.dtype, *sorted(one.fixed.items())), []).append(one)
    found = []
    for members in alike.values():
        general = min(members, key=lambda one: one.unusual)
        others = [one for one in members if one.options != general.options]
        found += [general, *(replace(one, fixed=one.options) for one in others)]
    return tuple(sorted(found, key=lambda one: -len(one.fixed)))


def run_time_options(kernel: Kernel, operator: Operator) -> frozenset[str]:
    """Options that one compiled copy honours in every value."""
    if not isinstance(kernel, SourceKernel):
        return frozenset()
    return frozenset(name for name in operator.options if kernel.runs_with_any(name))


class _Maker:
    def __init__(
        self, device: Device, store: "Store", levels: Sequence[Target], rows: Mapping[Workload, BestRow]
    ) -> None:
        self.device, self.store, self.levels, self.rows = device, store, levels, rows
        self.variants: dict[tuple[object, ...], Variant] = {}

    def variant(self, kernel: Kernel, workload: Workload, config: Config, target: Target) -> Variant:
        workload = unfrozen(workload)
        space = kernel.space(workload, target)
        if kernel.shape_generic:
            # Another shape's configuration may break constraints of this one, but not name what no space
            # lists.
            space.indices(config)
        else:
            space.check(config)
        dims = () if kernel.shape_generic else workload.dims
        key = (
            kernel.name, workload.dtype, workload.options, dims, tuple(sorted(config.items())),
            target.features,
        )  # fmt: skip
        if key not in self.variants:
            symbol = f"tuner_v{len(self.variants)}"
            self.variants[key] = Variant(symbol, kernel, workload, dict(config), target)
        return self.variants[key]

    def option_class(self, members: Sequence[Workload]) -> OptionClass:
        largest = max(members, key=lambda w: registry.operator(w.operator).flops(w))
        first = self.own_level(members)
        levels = [self.tuned_level(members, largest, self.levels[first])]
        for target in self.levels[first + 1 :]:
            picked = self.plain(levels[0].default, largest, target)
            if picked is not None:
                levels.append(Level(target.features, {}, Leaf(0, 0, 1.0), (picked,), picked))
        operator = registry.operator(largest.operator)
        variants = [v for level in levels for v in (*level.exact.values(), *level.choices)]
        # A static kernel is asked for with all its options where its dimensions are found.
        free = frozenset.intersection(
            *(run_time_options(v.kernel, operator) for v in variants if not v.static)
        )
        defaults = {name: value for name, value in operator.options.items() if name not in (STRICT, FROZEN)}
        options = {name: largest.option(name, default) for name, default in defaults.items()}
        fixed = {name: value for name, value in options.items() if name not in free}
        usual = {name: value for name, value in operator.options.items() if name != FROZEN}
        unusual = sum(largest.option(name, value) != value for name, value in usual.items())
        return OptionClass(largest.dtype, fixed, tuple(levels), options, unusual)

    def own_level(self, members: Sequence[Workload]) -> int:
        """The place of the least level of this processor that all their kernels run on."""
        place = 0
        for target in self.levels[1:]:
            kernels = ((registry.kernel(self.rows[w].kernel.name), w) for w in members)
            if target.limits != self.levels[0].limits or any(k.unsupported(w, target) for k, w in kernels):
                break
            place += 1
        return place

    def tuned_level(self, members: Sequence[Workload], largest: Workload, target: Target) -> Level:
        # Of one shape what was tuned with weights that may change counts, as they may in every call here.
        ordered = sorted(members, key=lambda w: not w.option(FROZEN, False))
        exact = {tuple(size for _, size in w.dims): self.tuned(w, target) for w in ordered}
        ruled = self.by_rule(members, target)
        if ruled is not None:
            return Level(target.features, exact, *ruled)
        best = exact[tuple(size for _, size in largest.dims)]
        picked = best if _any_shape(best.kernel) else self.plain(best, largest, target)
        if picked is None:
            raise Unavailable(f"no kernel serves every size of {largest.key}: a library cannot")
        return Level(target.features, exact, Leaf(0, 0, 1.0), (picked,), picked)

    def tuned(self, workload: Workload, target: Target) -> Variant:
        """A workload's own best kernel. A static one is lowered for the threads that it was measured with."""
        row = self.rows[workload]
        kernel = registry.kernel(row.kernel.name)
        if not kernel.shape_generic:
            target = target.with_limits(cores=self.device.target_for(row.threads).limits["cores"])
        return self.variant(kernel, workload, row.config, target)

    def by_rule(
        self, members: Sequence[Workload], target: Target
    ) -> tuple[Node, tuple[Variant, ...], Variant, Mapping[str, tuple[float, float]]] | None:
        """The rule of the tuned shapes; `None` of fewer than two."""
        names = [
            k.name
            for k in registry.kernels_of(members[0].operator, target.kind)
            if embeddable(k) and _any_shape(k) and k.unsupported(members[0], target) is None
        ]
        counts = [self.rows[w].threads for w in members]
        # First what `tuner.load` asks for, then what most were fastest with.
        for threads in (default_protocol(self.device).threads, max(set(counts), key=counts.count)):
            try:
                matrix = read_local(
                    self.store, members[0].operator, members[0].dtype, shapes=dict.fromkeys(members, 1.0),
                    device=self.device.fingerprint, threads=threads, kernels=names,
                )  # fmt: skip
            except TunerError:
                continue
            if len(matrix.searched) >= 2:
                break
        else:
            return None
        rule = make_rule(matrix, WITHIN)
        choices = tuple(
            self.variant(registry.kernel(c.kernel), members[0], c.config, target) for c in rule.choices
        )
        # What the dispatcher cannot ask for, options, is the same in all of a class.
        tree = _asking_only(rule.tree, {name for name, _ in members[0].dims} | {SIZE})
        return tree, choices, choices[rule.default], rule.ranges

    def plain(self, like: Variant, workload: Workload, target: Target) -> Variant | None:
        """A kernel for any shape on another processor: the same one, adapted, else the simplest."""
        protocol = default_protocol(self.device, threads=int(like.config.get("threads", 1)))
        cores = self.device.target_for(protocol.threads).limits["cores"]
        bounded = Target(target.kind, target.arch, target.features, {**target.limits, "cores": cores})
        adapt = adapter(bounded)
        named = [like.kernel, *registry.kernels_of(workload.operator, target.kind)]
        for kernel in named:
            if not (embeddable(kernel) and _any_shape(kernel)):
                continue
            start = like.config if kernel is like.kernel else None
            config = _start(kernel, workload, bounded, start, adapt)
            if config is not None:
                return self.variant(kernel, workload, config, target)
        return None


def _start(
    kernel: Kernel, workload: Workload, target: Target, like: Config | None,
    adapt: Callable[[str, Workload, Config], Config | None],
) -> Config | None:  # fmt: skip
    if kernel.unsupported(workload, target):
        return None
    if like is not None:
        return adapt(kernel.name, workload, like)
    try:
        return default_config(kernel.space(workload, target))
    except TunerError:
        return None


def _any_shape(kernel: Kernel) -> bool:
    """Whether one compiled copy computes every size, from dimensions and options that a caller knows."""
    if not isinstance(kernel, SourceKernel) or kernel.restricted:
        return False
    operator = registry.operator(kernel.operator)
    known = {*operator.dims, *operator.options, *operator.tensors}
    return all(name in known for name in kernel.argument_names)


def _asking_only(node: Node, names: set[str]) -> Node:
    if isinstance(node, Leaf):
        return node
    if node.feature not in names:
        return node.leaf
    return Question(
        node.feature, node.at, _asking_only(node.low, names), _asking_only(node.high, names), node.leaf
    )
