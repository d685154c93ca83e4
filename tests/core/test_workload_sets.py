"""The layers of known models: their number and work are those published."""

import pytest

from tuner import registry
from tuner.core.errors import UnknownName
from tuner.core.workload_sets import set_names, workload_set

# Convolutions of a forward pass, and its multiply-adds in units of 10^9.
PUBLISHED = {
    # torchvision: 4.09 GMAC with the classifier's 2.05 million.
    "resnet50": (53, 4.087),
    # torchvision: 0.301 GMAC with the classifier's 1.28 million.
    "mobilenetv2": (52, 0.2995),
    # Ultralytics: 16.5 GFLOPs with activations and additions.
    "yolov5s": (60, 8.22),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_convolutions_add_up_to_the_published_work(name: str) -> None:
    conv = registry.operator("conv2d")
    layers = workload_set(name).of("conv2d")
    count, work = PUBLISHED[name]
    assert sum(layer.count for layer in layers) == count
    macs = sum(conv.flops(conv.parse(layer.shape)) * layer.count for layer in layers) / 2e9
    assert macs == pytest.approx(work, rel=0.002)


def test_bert_and_llama_have_their_parameters() -> None:
    gemm = registry.operator("gemm")
    weights = {}
    for name in ("bert-base", "llama-7b"):
        found = [(gemm.parse(layer.shape), layer.count) for layer in workload_set(name).of("gemm")]
        weights[name] = sum(w["n"] * w["k"] * count for w, count in found)
    assert weights["bert-base"] == 12 * (4 * 768**2 + 2 * 768 * 3072)  # 85 million of its 110
    assert weights["llama-7b"] / 2 / 1e9 == pytest.approx(6.61, abs=0.01)  # 6.74 with the embedding


@pytest.mark.parametrize("name", set_names())
def test_a_layer_is_listed_once_and_can_be_read(name: str) -> None:
    chosen = workload_set(name)
    assert chosen.source and chosen.summary
    keys = [registry.operator(layer.operator).parse(layer.shape).key for layer in chosen.layers]
    assert len(set(keys)) == len(keys)


def test_an_unknown_set_lists_the_known_ones() -> None:
    with pytest.raises(UnknownName, match=r"unknown workload set 'resnet51': did you mean 'resnet50'"):
        workload_set("resnet51")
