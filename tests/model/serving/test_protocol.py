"""Requests and answers of the protocol: JSON and binary, both ways, and what is refused."""

import json
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tuner.model.serving.protocol import DATATYPES, HEADER, Refused, Request, Signature, Tensor, answer, parse

pytest.importorskip("fastapi", reason="needs the extra 'serve'")
from fastapi.testclient import TestClient

from tests.model.serving.made import asked, by_hand

INFER = "/v2/models/m/infer"


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with asked(by_hand()) as client:
        yield client


def tensor(**other: Any) -> dict[str, Any]:
    return {"name": "x", "shape": [2, 3], "datatype": "FP32", "data": [1, 2, 3, -4, 5, 6.5], **other}


def test_json_flat_or_nested_is_answered(client: TestClient) -> None:
    for data in ([1, 2, 3, -4, 5, 6.5], [[1, 2, 3], [-4, 5, 6.5]]):
        found = client.post(INFER, json={"id": "a", "inputs": [tensor(data=data)]}).json()
        assert (found["id"], found["model_name"], found["model_version"]) == ("a", "m", "1")
        assert found["outputs"] == [
            {"name": "y", "datatype": "FP32", "shape": [2, 3], "data": [4, 7, 10, -11, 16, 20.5]},
            {"name": "sign", "datatype": "BOOL", "shape": [2, 3], "data": [True] * 3 + [False, True, True]},
        ]


def test_binary_data_both_ways(client: TestClient) -> None:
    x = np.array([[1, 2, 3]], "<f4")
    one = {**tensor(shape=[1, 3]), "parameters": {"binary_data_size": 12}}
    del one["data"]
    outputs = [{"name": "sign", "parameters": {"binary_data": True}}, {"name": "y"}]
    text = json.dumps({"inputs": [one], "outputs": outputs}).encode()
    found = client.post(INFER, content=text + x.tobytes(), headers={HEADER: str(len(text))})
    length = int(found.headers[HEADER])
    said, data = json.loads(found.content[:length]), found.content[length:]
    assert [o["name"] for o in said["outputs"]] == ["sign", "y"] and data == b"\1\1\1"
    assert said["outputs"][0]["parameters"]["binary_data_size"] == 3
    assert said["outputs"][1]["data"] == [4, 7, 10]
    more = {"inputs": [tensor()], "parameters": {"binary_data_output": True}}
    assert (
        len(client.post(INFER, json=more).content) - int(client.post(INFER, json=more).headers[HEADER]) == 30
    )


@pytest.mark.parametrize("dtype", DATATYPES)
def test_every_type_comes_through_binary_data(dtype: str) -> None:
    import ml_dtypes

    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    array = np.array([[0, 1], [1, 1]]).astype(kind)
    signature = Signature((Tensor("x", dtype, (2,)),), (Tensor("x", dtype, (2,)),), 4)
    one = {"name": "x", "shape": [2, 2], "datatype": DATATYPES[dtype],
           "parameters": {"binary_data_size": array.nbytes}}  # fmt: skip
    text = json.dumps({"inputs": [one]}).encode()
    found = parse(signature, text + array.tobytes(), len(text)).arrays["x"]
    assert found.dtype == kind and np.array_equal(found, array)
    pieces, _ = answer("m", "1", Request("", {}, 2, [("x", True)], None), {"x": found})
    assert pieces[1] == array.tobytes()
    (text,), none = answer("m", "1", Request("", {}, 2, [("x", False)], None), {"x": found})
    assert none is None and json.loads(text)["outputs"][0]["data"] == [0, 1, 1, 1]


@pytest.mark.parametrize("piece", ["[],", "{},", '"a",', "1,"])
def test_json_that_grows_when_it_is_decoded_is_refused_before(
    piece: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature = Signature((Tensor("x", "float32", (1000, 10)),), (), 8)
    text = '{"inputs": [' + piece * (signature.most_json // len(piece) - 20) + "0]}"
    monkeypatch.setattr(json, "loads", lambda text: pytest.fail("it was decoded"))
    with pytest.raises(Refused, match="times"):
        parse(signature, text.encode(), None)


def test_the_largest_request_in_json_is_taken_flat_and_nested() -> None:
    signature = Signature((Tensor("x", "float32", (500, 1)),), (), 8)
    x = np.random.default_rng(1).standard_normal((8, 500, 1)).astype(np.float32)
    for data in (x.tolist(), x.ravel().tolist()):
        one = {"name": "x", "shape": [8, 500, 1], "datatype": "FP32", "data": data}
        body = json.dumps({"inputs": [one]}, indent=None).encode()
        assert len(body) > 2**16 and np.array_equal(parse(signature, body, None).arrays["x"], x)


def test_a_byte_that_is_no_truth_value_becomes_one() -> None:
    signature = Signature((Tensor("x", "bool", (4,)),), (), 0)
    one = {"name": "x", "shape": [4], "datatype": "BOOL", "parameters": {"binary_data_size": 4}}
    text = json.dumps({"inputs": [one]}).encode()
    found = parse(signature, text + b"\0\1\2\xff", len(text)).arrays["x"]
    assert found.view(np.uint8).tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize(
    ("whole", "named"),
    [
        ({"inputs": [tensor(shape=[5, 3])]}, "1 to 4"),
        ({"inputs": [tensor(shape=[0, 3])]}, "1 to 4"),
        ({"inputs": [tensor(shape=[-2, 3])]}, "1 to 4"),
        ({"inputs": [tensor(shape=[True, 3])]}, "1 to 4"),
        ({"inputs": [tensor(shape=[2**70, 2**70])]}, "1 to 4"),
        ({"inputs": [tensor(shape="2,3")]}, "1 to 4"),
        ({"inputs": [tensor(datatype="FP64")]}, "FP32"),
        ({"inputs": [tensor(data=[1] * 5)]}, "6 numbers"),
        ({"inputs": [tensor(data=["1"] * 6)]}, "6 numbers"),
        ({"inputs": [tensor(data=[True] * 6)]}, "6 numbers"),
        ({"inputs": [tensor(data=[[1, 2], [3, 4, 5, 6]])]}, "nested"),
        ({"inputs": [tensor(data=[10**400] * 6)]}, "cannot hold"),
        ({"inputs": [tensor(name="z")]}, "none of the model's: x"),
        ({"inputs": [tensor(name=["x"])]}, "none of the model's"),
        ({"inputs": [tensor(), tensor()]}, "twice"),
        ({"inputs": []}, "missing"),
        ({"inputs": {"x": 1}}, "list"),
        ({}, "list"),
        ([], "object"),
        ({"inputs": [tensor(parameters={"binary_data_size": 24})]}, "0 bytes left"),
        ({"inputs": [tensor(parameters={"binary_data_size": -1})]}, "24"),
        ({"inputs": [tensor(parameters={"shared_memory_region": "r"}, data=None)]}, "6 numbers"),
        ({"inputs": [tensor()], "outputs": [{"name": "x"}]}, "y, sign"),
        ({"inputs": [tensor()], "outputs": [{"name": "y"}, {"name": "y"}]}, "once"),
        ({"inputs": [tensor()], "outputs": [{"name": "y", "parameters": {"classification": 1}}]}, "classif"),
        ({"inputs": [tensor()], "parameters": {"timeout": "1"}}, "microseconds"),
        ({"inputs": [tensor()], "id": 5}, "id"),
    ],
)  # fmt: skip
def test_a_bad_request_gets_one_line(whole: Any, named: str, client: TestClient) -> None:
    found = client.post(INFER, json=whole)
    assert found.status_code == 400 and list(found.json()) == ["error"]
    assert named in found.json()["error"] and len(found.json()["error"]) < 400


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {}, 400),
        (b"[" * 60_000, {}, 400),
        (b"1" * 6000, {}, 400),
        (b"\xff\xfe", {}, 400),
        (b"x" * 100_000, {}, 413),
        (b"{}", {HEADER: "3"}, 400),
        (b"{}", {HEADER: "-1"}, 400),
        (b"{}", {HEADER: "9" * 30}, 400),
        (b"{}abc", {HEADER: "2"}, 400),
        (b"{}", {"content-encoding": "gzip"}, 400),
    ],
)
def test_a_hostile_body_is_refused(
    body: bytes, headers: dict[str, str], status: int, client: TestClient
) -> None:
    found = client.post(INFER, content=body, headers=headers)
    assert found.status_code == status and list(found.json()) == ["error"]


def test_nothing_that_is_sent_makes_the_server_fail(client: TestClient) -> None:
    """A right request, changed at random: bytes, numbers, and the header."""
    drawn = random.Random(1)
    x = np.arange(6, dtype="<f4").tobytes()
    one = {**tensor(), "parameters": {"binary_data_size": 24}}
    text = json.dumps({"inputs": [one], "parameters": {"timeout": 10**7}}).encode()
    seen = set()
    for _ in range(80):
        body = bytearray(text + x)
        for _ in range(drawn.randint(0, 3)):
            place = drawn.randrange(len(body))
            body[place : place + drawn.randint(0, 3)] = bytes(drawn.choice(b'[]{}",:019-e') for _ in range(2))
        length = drawn.choice([len(text), len(text), drawn.randrange(300)])
        seen.add(client.post(INFER, content=bytes(body), headers={HEADER: str(length)}).status_code)
    assert seen == {200, 400}


def test_what_is_not_there_gets_404_and_another_method_405(client: TestClient) -> None:
    for path in ("/v2/models/n", "/v2/models/m/versions/2", "/v2/models/m/x", "/", "/v2/"):
        found = client.get(path)
        assert found.status_code == 404 and list(found.json()) == ["error"], path
    assert client.post("/v2/models/n/infer", content=b"x").status_code == 404
    found = client.get(INFER)
    assert found.status_code == 405 and list(found.json()) == ["error"]


def test_rows_of_all_inputs_have_to_be_as_many() -> None:
    signature = Signature((Tensor("a", "int32", ()), Tensor("b", "int32", (1,))), (), 4)
    inputs = [
        {"name": "a", "shape": [2], "datatype": "INT32", "data": [1, 2]},
        {"name": "b", "shape": [3, 1], "datatype": "INT32", "data": [1, 2, 3]},
    ]
    with pytest.raises(Refused, match="3 rows, another one 2"):
        parse(signature, json.dumps({"inputs": inputs}).encode(), None)


def test_bodies_that_are_read_hold_no_more_memory_than_they_may() -> None:
    with asked(by_hand()) as client:
        answers: Any = client.app.routes[0].endpoint.__self__  # type: ignore[attr-defined]
        body = json.dumps({"inputs": [tensor()]})
        answers.intake.most = answers.intake.held + len(body) - 1
        found = client.post(INFER, content=body)
        assert found.status_code == 503 and "retry-after" in found.headers
        answers.intake.most += 1
        for sent, status in ((body, 200), ("x" * len(body), 400), ("x" * 100_000, 413), (body, 200)):
            assert client.post(INFER, content=sent).status_code == status
            assert answers.intake.held == 0
