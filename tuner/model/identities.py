"""Identity nodes taken out of a graph, so that what stands on both sides of one is seen to be neighbours."""

from typing import Any


def without_identities(graph: Any) -> None:
    """Gives who reads a copy the value itself, in place; some exporters put an Identity behind every layer.

    One stays where its result is asked for by name: as an output of the graph, or where nodes have bodies,
    which read values of the graph too.

    Args:
        graph: a `GraphProto`, checked (`guards.check`).
    """
    attributes = (attribute for node in graph.node for attribute in node.attribute)
    if any(attribute.HasField("g") or attribute.graphs for attribute in attributes):
        return
    asked = {value.name for value in graph.output}
    sources: dict[str, str] = {}
    taken: list[int] = []
    for place, node in enumerate(graph.node):
        plain = node.op_type == "Identity" and not node.domain and len(node.input) == len(node.output) == 1
        if plain and node.output[0] and node.output[0] not in asked:
            sources[node.output[0]] = node.input[0]
            taken.append(place)
    for place in reversed(taken):
        del graph.node[place]
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name in sources:
                node.input[i] = _root(sources, name)


def _root(sources: dict[str, str], name: str) -> str:
    """The value that is copied, through however many copies; in a circle of copies one of them.

    All on the way are then one step from it: a chain of many is walked once.
    """
    passed: dict[str, None] = {}
    while name in sources and name not in passed:
        passed[name] = None
        name = sources[name]
    for each in passed:
        if each != name:
            sources[each] = name
    return name
