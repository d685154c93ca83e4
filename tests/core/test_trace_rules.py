"""Traces of others: what MetaSchedule's rules do not make is refused before TVM sees it."""

import ast
import json
from pathlib import Path

import pytest

from tuner import registry
from tuner.core.errors import InvalidConfig
from tuner.core.searcher import Problem
from tuner.core.trace_rules import ANNOTATIONS, INSTRUCTIONS
from tuner.core.trace_space import canonical_trace, trace_content, trace_text
from tuner.devices.cpu.device import named_targets
from tuner.searchers.metaschedule import island
from tuner.searchers.metaschedule.metaschedule import MetaScheduleSearcher
from tuner.targets import cuda

ROOT = Path(__file__).resolve().parents[2]
LLVM = "; ModuleID = 'x'\ndefine void @f() { ret void }"


def annotate(key, value, of="b0"):
    return ["Annotate", [of, value], [key], []]


def index_map(change=lambda nodes: None, **more):
    """TVM's own map (i, j) -> (i // 2 * j, j % 2), serialized; `change` edits its nodes."""
    nodes = [
        {"type": "None"},
        {"type": "ir.PrimType", "data": {"span": 0, "dtype": "int32"}},
        {"type": "ffi.String", "data": "i"},
        {"type": "ir.Var", "data": {"span": 0, "ty": 1, "name": 2}},
        {"type": "ffi.String", "data": "j"},
        {"type": "ir.Var", "data": {"span": 0, "ty": 1, "name": 4}},
        {"type": "ffi.Array", "data": [3, 5]},
        {"type": "int", "data": 2},
        {"type": "ir.IntImm", "data": {"span": 0, "ty": 1, "value": 7}},
        {"type": "prim.FloorDiv", "data": {"span": 0, "ty": 1, "a": 3, "b": 8}},
        {"type": "prim.Mul", "data": {"span": 0, "ty": 1, "a": 9, "b": 5}},
        {"type": "prim.FloorMod", "data": {"span": 0, "ty": 1, "a": 5, "b": 8}},
        {"type": "ffi.Array", "data": [10, 11]},
        {
            "type": "tirx.IndexMap",
            "data": {"initial_indices": 6, "final_indices": 12, "inverse_index_map": 0},
        },
    ]
    change(nodes)
    graph = {"root_index": len(nodes) - 1, "nodes": nodes, "metadata": {"tvm_version": "0.27.0"}}
    return json.dumps({**graph, **more})


def node(place, value):
    def change(nodes):
        nodes[place] = value

    return index_map(change)


def doubled(nodes):
    """Each node twice the one before: 2^40 of them as a tree."""
    root = nodes.pop()
    for _ in range(40):
        last = len(nodes) - 1 if nodes[-1]["type"] == "prim.Mul" else 10
        nodes.append({"type": "prim.Mul", "data": {"span": 0, "ty": 1, "a": last, "b": last}})
    nodes.append({"type": "ffi.Array", "data": [len(nodes) - 1]})
    nodes.append({**root, "data": {**root["data"], "final_indices": len(nodes) - 1}})


CALL = {"type": "ir.Call", "data": {"op": 2, "args": 6, "attrs": 0, "span": 0}}
HOSTILE_MAPS = {
    "no JSON": "{",
    "a list": "[]",
    "deep": "[" * 100_000,
    "a call": node(10, CALL),
    "an intrinsic by name": node(10, {"type": "ir.Op", "data": "tirx.call_packed"}),
    "a field too many": node(3, {"type": "ir.Var", "data": {"span": 0, "ty": 1, "name": 2, "x": 0}}),
    "a map of itself": node(13, {"type": "tirx.IndexMap", "data": {
        "initial_indices": 6, "final_indices": 12, "inverse_index_map": 13}}),
    "a node after it": node(6, {"type": "ffi.Array", "data": [3, 12]}),
    "a text for an expression": node(12, {"type": "ffi.Array", "data": [2, 4]}),
    "a float": node(7, {"type": "float", "data": 2.0}),
    "a handle": node(1, {"type": "ir.PrimType", "data": {"span": 0, "dtype": "handle"}}),
    "another root": index_map(root_index=12),
    "binary data": index_map(b64ndarrays=["AAAA"]),
    "huge as a tree": index_map(doubled),
}  # fmt: skip
HOSTILE = {
    "assembly": annotate("pragma_import_llvm", f'"{LLVM}"'),
    "assembly of a loop": annotate("pragma_import_llvm", f'"{LLVM}"', of="l0"),
    "C": annotate("pragma_import_c", '"int x;"'),
    "debug": annotate("pragma_debug_skip_region", 1),
    "any pragma": annotate("pragma_scope_that_will_be", 1),
    "an attribute": annotate("device_scope", 1),
    "a key that is a list": ["Annotate", ["b0", 1], [["pragma_import_llvm"]], []],
    "two keys": ["Annotate", ["b0", 1], ["pragma_unroll_explicit", "pragma_import_llvm"], []],
    "a text for a number": annotate("pragma_auto_unroll_max_step", f'"{LLVM}"'),
    "a number beyond all": annotate("pragma_auto_unroll_max_step", 10**9),
    "an object for a number": annotate("software_pipeline_stage", {"x": 1}),
    "a text among stages": annotate("software_pipeline_stage", [0, '"x"']),
    "an unknown intrinsic": annotate("meta_schedule.auto_tensorize", '"rm -rf"'),
    "a value by name": annotate("meta_schedule.auto_tensorize", "b3"),
    "tensorized by another": ["Tensorize", ["b0"], ["my_intrinsic", 1], []],
    "tensorized by a DMA": ["Tensorize", ["b0"], ["dma_read_128_i8", 1], []],
    "unsafe type": ["UnsafeSetDType", ["b0"], [0, "float64"], []],
    "hidden access": ["UnsafeHideBufferAccess", ["b0"], ["read", [0]], []],
    "declared access": ["AnnotateBufferAccess", ["b0"], [0, 0, index_map()], []],
    "an unknown instruction": ["CallPacked", [], ["runtime.SystemLib"], []],
    "a scope": ["SetScope", ["b0"], [0, "global; system()"], []],
    "a thread axis": ["Bind", ["l0"], ["threadIdx.x); asm(\\"], []],
    "a block's name": ["GetSBlock", [], ["root\n", "main"], ["b0"]],
    "an output's name": ["GetSBlock", [], ["root", "main"], ["__import__"]],
    "an input that is an object": ["ComputeInline", [{"type": "x"}], [], []],
    "an input that is code": ["Split", ["l0", "v1 + system()"], [1, 0], ["l1", "l2"]],
    "an attribute too many": ["Parallel", ["l0"], ["x"], []],
    "candidates that are texts": ["SampleCategorical", [], [["a"], [1.0]], ["v0"]],
    **{f"a map: {name}": ["TransformBlockLayout", ["b0"], [text], []] for name, text in HOSTILE_MAPS.items()},
    "padding": ["TransformLayout", ["b0", index_map()], [0, 0, index_map(), 1], []],
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_no_rule_makes_is_refused_and_named(name):
    text = json.dumps([[["GetSBlock", [], ["root", "main"], ["b9"]], HOSTILE[name]], []])
    with pytest.raises(InvalidConfig, match="instruction 1") as refused:
        trace_content(text)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 300


@pytest.mark.parametrize("decision", ["x", ["x"], {"a": 1}, [1.5], 2**40, ["b0"]])
def test_decisions_are_integers_of_sampling(decision):
    sample = ["SampleComputeLocation", ["b0"], [], ["l1"]]
    with pytest.raises(InvalidConfig, match="decision"):
        trace_content(json.dumps([[sample], [[0, decision]]]))
    with pytest.raises(InvalidConfig, match="decision"):
        trace_content(json.dumps([[["Parallel", ["l0"], [], []]], [[0, 1]]]))
    assert trace_content(json.dumps([[sample], [[0, -1]]]))


def test_the_maps_that_are_refused_differ_from_a_good_one():
    assert trace_content(json.dumps([[["TransformBlockLayout", ["b0"], [index_map()], []]], []]))


def test_nothing_listed_takes_code():
    """Whatever is added to the lists one day: no key imports code, no check admits free text."""
    assert not [key for key in ANNOTATIONS if "import" in key or "debug" in key]
    free = "int x; system(1)"
    assert not [key for key, check in ANNOTATIONS.items() if check(free) or check(f'"{free}"')]
    for name, (given, checks) in INSTRUCTIONS.items():
        assert not given(free) and not any(check(free) for check in checks), name


def test_whoever_applies_a_trace_has_it_checked():
    """`apply_json_to_schedule` and its like are given what `trace_content` returns, or our own trace."""
    appliers = ("apply_json_to_schedule", "apply_to_schedule", "from_json", "load_json")
    found = {}
    for path in [p for folder in ("tuner", "schedules") for p in (ROOT / folder).rglob("*.py")]:
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and getattr(call.func, "attr", "") in appliers:
                found.setdefault(path.name, []).append(ast.unparse(call))
    assert found.pop("gpu_draws.py") == [
        "Trace(trace.insts, dict(decisions)).apply_to_schedule(schedule, remove_postproc=True)"
    ], "a design that MetaSchedule made in this process"
    assert found == {
        "trace.py": ["Trace.apply_json_to_schedule(content, schedule)"],
        "evolution.py": ["Trace.apply_json_to_schedule(trace_content(text), schedule)"],
        "metaschedule.py": ["Trace.apply_json_to_schedule(trace_content(text), schedule)"],
    }
    assert "content = trace_content(trace)" in (ROOT / "tuner/builders/tvm/trace.py").read_text()


SHAPES = {
    "gemm": [("m32 n48 k16 batch2 trans_b alpha0.5 beta0.75 bias", "f32"), ("64x64x64", "f16"),
             ("m64 n64 k64 bias relu", "int8")],
    "conv2d": [("n1 c8 h9 w9 k16 r3 s3 pad1 bias relu", "f32"), ("n1 c16 h8 w8 k16 r3 s3 nhwc", "f32")],
    "attention": [("b1 h2 q17 kv21 d16 causal", "f32")],
}  # fmt: skip
TARGETS = [*named_targets().values(), *map(cuda.target, ("cuda:sm_75", "cuda:sm_80", "cuda:sm_90"))]
# Of the others tests/kernels/test_metaschedule.py proposes a few besides.
QUICK = {("cpu:avx512", SHAPES["gemm"][0]), ("cuda:sm_80", SHAPES["gemm"][1])}
CASES = [
    pytest.param(
        kernel, shape, dtype, target, id=f"{kernel.name}-{target.name}-{dtype}-{shape.replace(' ', '-')}",
        marks=() if (target.name, (shape, dtype)) in QUICK else pytest.mark.slow,
    )
    for kernel in registry.kernels().values() if kernel.searcher
    for shape, dtype in SHAPES[kernel.operator] if dtype in kernel.dtypes
    for target in TARGETS if target.kind in kernel.target_kinds
]  # fmt: skip


@pytest.mark.parametrize(("kernel", "shape", "dtype", "target"), CASES)
def test_everything_that_the_rules_make_is_admitted(kernel, shape, dtype, target, monkeypatch):
    refused = []

    def judged(trace):
        try:
            return trace_text(trace)
        except InvalidConfig as error:
            refused.append(str(error))
            raise

    monkeypatch.setattr(island, "trace_text", judged)
    workload = registry.operator(kernel.operator).parse(shape, dtype)
    options = {"batch": 8, "population": 16}
    searcher = MetaScheduleSearcher(Problem(kernel.space(workload, target), 5, options=options))
    made = [config["trace"] for config in searcher.ask(8)]
    assert made and refused == []
    assert [canonical_trace(text) for text in made] == made
