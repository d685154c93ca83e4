"""Models are read, not run: workloads are recognized, the rest has a reason, bad files one line."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from tests.in_process import run_here
from tests.model.graphs import attending, convolutional, damaged, helper, onnx, save, weight
from tuner.core.errors import TunerError
from tuner.model.inspection import as_plain, inspect
from tuner.model.layers import find_layers
from tuner.model.reading import read_model


def keys(path: Path, **named: object) -> list[str]:
    return [layer.workload.key for layer in find_layers(read_model(path, **named)).layers]


def refused(*arguments: str) -> str:
    done = run_here("model", "inspect", *arguments)
    assert done.returncode == 2, (done.stdout, done.stderr)
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    return line


def test_what_follows_a_convolution_is_part_of_it(tmp_path: Path) -> None:
    graph = read_model(convolutional(tmp_path / "m.onnx"))
    found = find_layers(graph)
    assert [layer.workload.key for layer in found.layers] == [
        "conv2d/f32/n1-c3-h6-w6-k8-r3-s3/bias,frozen,pad=1,relu",
        "conv2d/f32/n1-c8-h6-w6-k8-r3-s3/frozen,pad=1,residual",
        "gemm/f32/m1-n5-k8/bias,frozen,trans_b",
    ]
    assert found.layers[0].nodes == (0, 1, 2) and found.layers[0].folded == (1,)
    assert {graph.nodes[i].op for i in found.reasons} == {"GlobalAveragePool", "Reshape"}


def test_copies_between_nodes_part_nothing(tmp_path: Path) -> None:
    """Some exporters put an Identity behind every node; one that is an output of the model is a node."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Identity", ["c"], ["i"]),
        helper.make_node("Identity", ["i"], ["j"]),
        helper.make_node("Relu", ["j"], ["r"]),
        helper.make_node("Identity", ["r"], ["y"]),
    ]
    path = save(tmp_path / "m.onnx", nodes, {"x": [1, 3, 6, 6]}, ["y"], [weight("w", 4, 3, 3, 3)])
    (layer,) = find_layers(read_model(path)).layers
    assert "relu" in layer.workload.key
    assert [node.op for node in read_model(path).nodes] == ["Conv", "Relu", "Identity"]


def test_another_batch_reaches_all_layers(tmp_path: Path) -> None:
    found = keys(convolutional(tmp_path / "m.onnx"), batch=4)
    assert [key.split("/")[2].split("-")[0] for key in found] == ["n4", "n4", "m4"]


def test_weights_that_come_with_every_run_are_not_frozen(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Conv", ["a", "v", "b"], ["y"]),
        helper.make_node("MatMul", ["p", "q"], ["z"]),
    ]
    given = {"x": [1, 3, 4, 4], "w": [2, 3, 3, 3], "b": [5], "p": [3, 4], "q": [4, 6]}
    path = save(tmp_path / "m.onnx", nodes, given, ["y", "z"], [weight("v", 5, 2, 1, 1)])
    assert len(keys(path)) == 3 and not any("frozen" in key for key in keys(path))


def test_attention_is_one_layer_and_a_mask_leaves_its_products(tmp_path: Path) -> None:
    found = keys(attending(tmp_path / "m.onnx"))
    assert found.count("gemm/f32/m10-n32-k32/bias,frozen") == 3
    assert found[3:] == ["attention/f32/b2-h2-q5-kv5-d16"]
    masked = attending(tmp_path / "masked.onnx", mask=True)
    assert "gemm/f32/m5-n16-k5/batch=4" in keys(masked)
    graph = read_model(masked)
    reasons = find_layers(graph).reasons
    (softmax,) = (node for node in graph.nodes if node.op == "Softmax")
    assert "mask" in reasons[softmax.index]


def test_a_sum_of_two_products_belongs_to_one(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("MatMul", ["x", "w2"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["s"]),
        helper.make_node("Relu", ["s"], ["y"]),
    ]
    path = save(tmp_path / "m.onnx", nodes, {"x": [3, 4]}, ["y"], [weight("w1", 4, 6), weight("w2", 4, 6)])
    assert keys(path) == ["gemm/f32/m3-n6-k4/frozen", "gemm/f32/m3-n6-k4/beta=1.0,frozen,relu"]


def test_a_product_that_somebody_else_uses_keeps_its_result(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Relu", ["a"], ["y"])]
    path = save(tmp_path / "m.onnx", nodes, {"x": [3, 4]}, ["y", "a"], [weight("w", 4, 6)])
    assert keys(path) == ["gemm/f32/m3-n6-k4/frozen"]


def test_operators_of_microsoft_are_their_workloads(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Attention", ["x", "w", "b"], ["a"], domain="com.microsoft", num_heads=2),
        helper.make_node("MultiHeadAttention", ["a", "a", "a"], ["y"], domain="com.microsoft", num_heads=2),
    ]
    weights = [weight("w", 32, 96), weight("b", 96)]
    path = save(tmp_path / "m.onnx", nodes, {"x": [1, 7, 32]}, ["y"], weights)
    assert keys(path) == [
        "gemm/f32/m7-n96-k32/bias,frozen", "attention/f32/b1-h2-q7-kv7-d16", "attention/f32/b1-h2-q7-kv7-d16",
    ]  # fmt: skip


def test_rows_of_pixels_and_same_padding(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], strides=[2], pads=[1, 0]),
        helper.make_node("Conv", ["a", "v"], ["y"], auto_pad="SAME_UPPER", strides=[2]),
    ]
    weights = [weight("w", 6, 4, 3), weight("v", 6, 6, 2)]
    path = save(tmp_path / "m.onnx", nodes, {"x": [1, 4, 10]}, ["y"], weights)
    assert keys(path) == [
        "conv2d/f32/n1-c4-h1-w10-k6-r1-s3/frozen,pad_left=1,stride=2",
        "conv2d/f32/n1-c6-h1-w5-k6-r1-s2/frozen,pad_right=1,stride=2",
    ]


def test_the_command_gives_shares_and_reasons(tmp_path: Path) -> None:
    path = attending(tmp_path / "m.onnx", tokens="T")
    assert "--dim T=1" in refused(str(path))
    assert "no input has a symbolic dimension 'U'" in refused(str(path), "--dim", "T=2", "--dim", "U=2")
    assert "--dim T=x" in refused(str(path), "--dim", "T=x")
    done = run_here("model", "inspect", str(path), "--dim", "T=8", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["dims"] == {"T": 8} and told["inputs"][0]["shape"] == [2, 8, 32]
    assert sum(node["share_of_flops"] for node in told["nodes"]) == pytest.approx(1)
    assert sum(node["share_of_bytes"] for node in told["nodes"]) == pytest.approx(1)
    assert all(node["workload"] or node["reason"] for node in told["nodes"])
    told = run_here("model", "inspect", str(path), "--dim", "T=8").stdout
    assert told.count("attention/f32") == 1
    heads = [line.split() for line in told.splitlines() if "FLOPs" in line]
    assert ["workload", "times", "FLOPs", "bytes", "nodes"] in heads, "columns have names"


def test_files_that_are_no_model_are_one_line(tmp_path: Path) -> None:
    path = convolutional(tmp_path / "m.onnx")
    whole = path.read_bytes()
    for bad in (whole[: len(whole) // 2], b"", b"\x00" * 64, os.urandom(400), b"{}"):
        path.write_bytes(bad)
        assert str(path) in refused(str(path))
    assert "no such file" in refused(str(tmp_path / "none.onnx"))
    assert "no regular file" in refused(str(tmp_path))


@pytest.mark.parametrize(
    ("op", "named", "inputs"),
    [
        ("Gemm", {"alpha": "x"}, {"a": [4, 4], "b": [4, 4]}),
        ("Gemm", {"alpha": [1.0, 2.0]}, {"a": [4, 4], "b": [4, 4]}),
        ("Conv", {"strides": "ab"}, {"a": [1, 3, 8, 8], "b": [4, 3, 3, 3]}),
        ("MultiHeadAttention", {"num_heads": "many"}, {"a": [1, 4, 8], "b": [1, 4, 8], "c": [1, 4, 8]}),
        ("MaxPool", {"kernel_shape": "zz"}, {"a": [1, 3, 8, 8]}),
    ],
)
def test_an_attribute_of_another_type_is_refused(tmp_path: Path, op: str, named: dict, inputs: dict) -> None:
    path = save(tmp_path / "m.onnx", [helper.make_node(op, list(inputs), ["y"], **named)], inputs, ["y"])
    assert f"{op} takes" in refused(str(path))


def test_numbers_that_nothing_can_be_divided_by_have_a_reason(tmp_path: Path) -> None:
    x, q = [1, 4, 8], [1, 2, 4, 0]
    odd = [
        ([helper.make_node("MultiHeadAttention", ["x"] * 3, ["y"], domain="com.microsoft", num_heads=0)],
         {"x": x}, "of 0 heads"),
        ([helper.make_node("Conv", ["i", "w"], ["y"], strides=[0, 0], auto_pad="SAME_UPPER")],
         {"i": [1, 3, 8, 8], "w": [4, 3, 3, 3]}, "strides"),
        ([helper.make_node("MatMul", ["q", "k"], ["s"]), helper.make_node("Softmax", ["s"], ["p"], axis=-1),
          helper.make_node("MatMul", ["p", "v"], ["y"])],
         {"q": q, "k": [1, 2, 0, 4], "v": q}, "without elements"),
    ]  # fmt: skip
    for nodes, inputs, why in odd:
        found = find_layers(read_model(save(tmp_path / "m.onnx", nodes, inputs, ["y"])))
        assert not found.layers and any(why in reason for reason in found.reasons.values())


def test_a_cycle_and_values_of_nobody_are_named(tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"], name="back")]
    assert "cycle" in refused(str(save(tmp_path / "m.onnx", nodes, {"x": [2]}, ["b"])))
    nodes = [helper.make_node("Relu", ["nowhere"], ["y"])]
    assert "'nowhere'" in refused(str(save(tmp_path / "m.onnx", nodes, {"x": [2]}, ["y"])))


def test_nodes_in_another_order_are_sorted(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["a"], ["y"]), helper.make_node("MatMul", ["x", "w"], ["a"])]
    path = save(tmp_path / "m.onnx", nodes, {"x": [3, 4]}, ["y"], [weight("w", 4, 6)])
    assert keys(path) == ["gemm/f32/m3-n6-k4/frozen,relu"]


def test_sizes_that_lie_are_refused(tmp_path: Path) -> None:
    tensor = weight("w", 4, 6)
    for dims in ((4, 7), (2**40, 2**40), (-1, 6)):
        tensor.dims[:] = dims
        nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
        assert "tensor 'w'" in refused(str(save(tmp_path / "m.onnx", nodes, {"x": [3, 4]}, ["y"], [tensor])))
    huge = onnx.numpy_helper.from_array(np.array([2**30, 2**30]), "sizes")
    nodes = [helper.make_node("ConstantOfShape", ["sizes"], ["a"]), helper.make_node("Relu", ["a"], ["y"])]
    assert "bytes" in refused(str(save(tmp_path / "m.onnx", nodes, {"x": [3]}, ["y"], [huge])))


@pytest.mark.parametrize("way", ["absolute", "dots", "link", "folder", "short"])
def test_data_outside_of_the_folder_is_refused(tmp_path: Path, way: str) -> None:
    inside = tmp_path / "model"
    inside.mkdir()
    (tmp_path / "secret.bin").write_bytes(b"\0" * 96)
    (inside / "short.bin").write_bytes(b"\0" * 95)
    (inside / "link.bin").symlink_to(tmp_path / "secret.bin")
    (inside / "folder").symlink_to(tmp_path)
    places = {"absolute": str(tmp_path / "secret.bin"), "dots": "../secret.bin", "link": "link.bin",
              "folder": "folder/secret.bin", "short": "short.bin"}  # fmt: skip
    path = save(inside / "m.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": [3, 4]}, ["y"],
                [external(places[way])])  # fmt: skip
    assert ("no such data" if way == "short" else "outside of the model's folder") in refused(str(path))
    (inside / "own.bin").write_bytes(b"\0" * 96)
    save(path, [helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": [3, 4]}, ["y"], [external("own.bin")])
    assert keys(path) == ["gemm/f32/m3-n6-k4/frozen"]


def external(location: str) -> "onnx.TensorProto":
    tensor = weight("w", 4, 6)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def test_functions_that_grow_without_end_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", [helper.make_node("F0", ["x"], ["y"], domain="own")], {"x": [2]}, ["y"])
    model = onnx.load(path)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    for number in range(19):
        called = "Relu" if number == 18 else f"F{number + 1}"
        domain = "" if number == 18 else "own"
        chain = [helper.make_node(called, ["a" * i or "x"], ["a" * (i + 1)], domain=domain) for i in range(5)]
        model.functions.append(helper.make_function("own", f"F{number}", ["x"], ["aaaaa"], chain, imports))
    path.write_bytes(model.SerializeToString())
    assert "functions" in refused(str(path))


@pytest.mark.parametrize(("name", "layers", "workloads"), [("resnet50", 54, 25), ("shufflenet", 50, 18)])
def test_models_of_the_onnx_package(name: str, layers: int, workloads: int) -> None:
    path = Path(onnx.__file__).parent / "backend/test/data/light" / f"light_{name}.onnx"
    if not path.exists():
        pytest.skip("this onnx package carries no light models")
    found = find_layers(read_model(path))
    assert (len(found.layers), len(found.counts)) == (layers, workloads)


def test_damaged_files_are_read_or_refused_and_nothing_else(tmp_path: Path) -> None:
    """Bytes changed, taken out and put in: every file is a graph or one line."""
    rng, path = np.random.default_rng(0), tmp_path / "m.onnx"
    # The smallest model: most of its bytes are structure, not weights.
    whole = save(path, [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1], group=2)],
                 {"x": [1, 4, 5, 5]}, ["y"], [weight("w", 2, 2, 3, 3)]).read_bytes()  # fmt: skip
    read = 0
    for _ in range(300):
        path.write_bytes(damaged(whole, rng))
        try:
            as_plain(inspect(read_model(path)))
            read += 1
        except TunerError as error:
            assert "\n" not in str(error)
    assert 0 < read < 300
