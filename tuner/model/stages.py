"""In what order a model's layers and the rest of its nodes run: few and large parts for ONNX Runtime."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tuner.model.glue.placing import Placing
from tuner.model.glue.program import Program
from tuner.model.graph import Graph, Node
from tuner.model.layer import Layer

# Only the shape changes: of static shapes they are another view of the same memory.
VIEWS = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"})


@dataclass(frozen=True)
class Part:
    """Nodes that ONNX Runtime runs in one session.

    Attributes:
        nodes: in the graph's order.
        inputs: values it is given, no constants.
        outputs: values that somebody behind it uses.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class View:
    """A value that is another one in another shape."""

    value: str
    source: str


Stage = Layer | Part | View | Program


def stages(graph: Graph, layers: Sequence[Layer], programs: Sequence[Program] = ()) -> list[Stage]:
    """A whole run, in order; nodes of constants are in none.

    As long as a layer can run, it does; then a program, the first of those that can; and where neither can,
    everything else that can, in one part. So a part is as large as it can be, and there are no more of them
    than chains of layers.

    Args:
        graph: of the model.
        layers: those that kernels compute.
        programs: of nodes in `rest_of`.
    """
    done = set(graph.inputs) | graph.constants | {""}
    rest = rest_of(graph, layers, programs)
    asked = set(graph.outputs).union(*map(needs, layers), *map(needs, programs))
    users: dict[str, set[int]] = {}
    for node in rest:
        for name in (*node.inputs, *node.captures):
            users.setdefault(name, set()).add(node.index)
    made_by_kernels = {layer.output for layer in layers} | set(graph.inputs)
    waiting, ready, found = list(layers), list(programs), list[Stage]()
    while waiting or ready or rest:
        before = len(found)
        for layer in list(waiting):
            if all(name in done for name in needs(layer)):
                found.append(layer)
                waiting.remove(layer)
                done.add(layer.output)
        views = [n for n in rest if _is_view(graph, n) and n.input(0) in made_by_kernels & done]
        for node in views:
            found.append(View(node.outputs[0], node.input(0)))
            rest.remove(node)
            done.add(node.outputs[0])
            made_by_kernels.add(node.outputs[0])
        if len(found) > before:
            continue
        program = next((p for p in ready if all(name in done for name in p.inputs)), None)
        if program is not None:
            found.append(program)
            ready.remove(program)
            done.update(program.outputs)
            made_by_kernels.update(program.outputs)
            continue
        taken = []
        for node in rest:
            if all(name in done for name in (*node.inputs, *node.captures)):
                taken.append(node)
                done.update(node.outputs)
        if not taken:
            raise AssertionError("a layer waits for itself")
        chosen = {node.index for node in taken}
        rest = [node for node in rest if node.index not in chosen]
        wanted = asked | {name for name, by in users.items() if by - chosen}
        found.append(_part(graph, taken, wanted))
    return found


def rest_of(graph: Graph, layers: Sequence[Layer], programs: Sequence[Program] = ()) -> list[Node]:
    """Nodes that are no kernel's and no program's, and that somebody needs.

    A node of a layer is among them where another node takes what it makes: a DequantizeLinear whose layer
    reads its input is of no use to that one's kernel.
    """
    made = {index: layer.output for layer in layers for index in layer.nodes}
    ours = {node.index for program in programs for node in program.nodes}
    needed = set(graph.outputs).union(*map(needs, layers), *map(needs, programs))
    found = []
    for node in reversed(graph.nodes):
        if node.index in ours:
            continue
        outputs = [name for name in node.outputs if name and name != made.get(node.index)]
        if not _constant(graph, node) and any(name in needed for name in outputs):
            found.append(node)
            needed.update((*node.inputs, *node.captures))
    return found[::-1]


def needs(stage: Layer | Program) -> list[str]:
    """Values that a stage takes."""
    if isinstance(stage, Program):
        return list(stage.inputs)
    return [binding.value for binding in stage.inputs if binding.value]


def _constant(graph: Graph, node: Node) -> bool:
    return all(name in graph.constants for name in node.outputs if name)


def _is_view(graph: Graph, node: Node) -> bool:
    more = any(name in graph.consumers or name in graph.outputs for name in node.outputs[1:] if name)
    if node.domain or node.op not in VIEWS or more or node.outputs[0] in graph.outputs:
        return False
    training = node.op == "Dropout" and bool(node.input(2))
    shapes = (graph.shape(node.input(0)), graph.shape(node.outputs[0]))
    return not training and None not in shapes


def _part(graph: Graph, nodes: Sequence[Node], wanted: Collection[str]) -> Part:
    made = {name for node in nodes for name in node.outputs if name}
    used = dict.fromkeys(n for node in nodes for n in (*node.inputs, *node.captures) if n)
    inputs = tuple(name for name in used if name not in made and name not in graph.constants)
    outputs = tuple(name for node in nodes for name in node.outputs if name and name in wanted)
    return Part(tuple(nodes), inputs, outputs)


def sources(order: Sequence[Stage]) -> dict[str, str]:
    """Of each value that only has another shape, the value it is."""
    return {stage.value: stage.source for stage in order if isinstance(stage, View)}


def buffers(
    graph: Graph, order: Sequence[Stage], needed: Mapping[str, int], placed: Placing | None = None
) -> dict[str, int]:
    """Which piece of memory each value lies in; values that are never there together share one.

    Args:
        graph: of the model.
        order: of a run.
        needed: bytes of each value.
        placed: values that lie within others; `None`: none do.

    Returns:
        Number of the piece by value. A view has its source's, and what lies within another value that one's;
        inputs and outputs of the model have their own.
    """
    placed = placed or Placing(sources(order))
    last: dict[str, int] = {}
    born: dict[str, int] = {}
    names = dict.fromkeys(graph.inputs)
    for number, stage in enumerate(order):
        if isinstance(stage, View):
            used, made = [stage.source], []
            names[stage.value] = None
        elif isinstance(stage, Part | Program):
            used, made = list(stage.inputs), list(stage.outputs)
        else:
            used, made = needs(stage), [stage.output]
        for name in used:
            last[placed.where(name)[0]] = number
        for name in made:
            names[name] = None
            born.setdefault(placed.where(name)[0], number)
            last[placed.where(name)[0]] = number
    for name in (*graph.inputs, *graph.outputs):
        last[placed.where(name)[0]] = len(order)
    piece = {name: place for place, name in enumerate(graph.inputs)}
    count, free, sizes = len(piece), list[int](), dict[int, int]()
    ends: dict[int, list[str]] = {}
    for name, number in last.items():
        ends.setdefault(number, []).append(name)
    by_birth: dict[int, list[str]] = {}
    for name, number in born.items():
        by_birth.setdefault(number, []).append(name)
    for number in range(len(order)):
        for name in by_birth.get(number, ()):
            if name not in needed:
                continue
            # The smallest free piece that holds it and is not wasted on it.
            fitting = [p for p in free if needed[name] <= sizes[p] <= 4 * needed[name]]
            if fitting and last[name] < len(order):
                piece[name] = min(fitting, key=lambda p: sizes[p])
                free.remove(piece[name])
            else:
                piece[name], sizes[count] = count, needed[name]
                count += 1
        free += [piece[n] for n in ends.get(number, ()) if n in piece and piece[n] in sizes]
    return piece | {name: piece[top] for name in names if (top := placed.where(name)[0]) in piece}
