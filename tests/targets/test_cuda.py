"""The CUDA targets are data: complete, in agreement with themselves, and named in errors."""

import pickle

import pytest

from tuner.core.compute_capability import arch_for, compute_capability
from tuner.core.errors import UnknownName
from tuner.targets.cuda import board, names, target

PLAIN = (75, 80, 86, 89, 90, 100, 103, 120)


def test_the_architectures_and_those_with_letters() -> None:
    lettered = tuple(f"{v}a" for v in PLAIN if v >= 90)
    assert names() == tuple(f"cuda:sm_{v}" for v in (*PLAIN, *lettered))


@pytest.mark.parametrize("name", [name for name in names() if name.endswith("a")])
def test_a_letter_changes_for_what_is_built_and_nothing_else(name: str) -> None:
    plain, lettered = target(name[:-1]), target(name)
    assert plain.limits == lettered.limits and plain.features == lettered.features
    assert board(lettered.arch) == board(plain.arch)


@pytest.mark.parametrize(
    ("arch", "needed", "built"),
    [("sm_90", ["wgmma"], "sm_90a"), ("sm_90", ["cp_async"], "sm_90"), ("sm_90a", [], "sm_90a"),
     ("sm_100", ["tcgen05", "cp_async"], "sm_100a"), ("sm_120", ["wgmma"], "sm_120")],
)  # fmt: skip
def test_what_one_capability_has_alone_is_built_with_its_letter(
    arch: str, needed: list[str], built: str
) -> None:
    assert arch_for(arch, needed) == built


@pytest.mark.parametrize(
    ("name", "number", "macro"),
    [("sm_90", 90, None), ("sm_90a", 90, "__CUDA_ARCH_FEAT_SM90_ALL"), ("sm_103", 103, None),
     ("sm_120a", 120, "__CUDA_ARCH_FEAT_SM120_ALL")],
)  # fmt: skip
def test_a_name_taken_apart(name: str, number: int, macro: str | None) -> None:
    found = compute_capability(name)
    assert (found.number, found.arch, found.macros["__CUDA_ARCH__"]) == (number, name, f"{number}0")
    assert [m for m in found.macros if "FEAT" in m] == ([macro] if macro else [])


@pytest.mark.parametrize("name", ["90", "sm90", "sm_9", "sm_90b", "avx2", ""])
def test_what_is_no_architecture(name: str) -> None:
    with pytest.raises(ValueError, match="sm_90a"):
        compute_capability(name)


@pytest.mark.parametrize("name", names())
def test_figures_agree(name: str) -> None:
    chosen = target(name)
    limit = chosen.limit
    assert (chosen.kind, chosen.name) == ("cuda", name)
    assert limit("max_warps_sm") * limit("warp_size") == limit("max_threads_sm")
    assert limit("shared_bytes_block") <= limit("shared_bytes_block_optin") <= limit("shared_bytes_sm")
    # One block may take all of an SM but what the system keeps.
    assert limit("shared_bytes_sm") - limit("shared_bytes_reserved") == limit("shared_bytes_block_optin")
    # The f32 peak is what SMs, lanes and clock make of it; printed figures are rounded.
    peak = limit("sm_count") * limit("fma_f32_clock_sm") * 2 * limit("clock_hz")
    assert peak == pytest.approx(limit("peak_flops_f32"), rel=0.01)
    assert limit("peak_flops_f32") < limit("peak_flops_f16")
    assert limit("peak_flops_f16") < limit("peak_flops_int8") or board(chosen.arch) == "B300"
    assert ("fp8" in chosen.features) == ("peak_flops_e4m3" in chosen.limits)
    assert limit("l2_bytes") < limit("memory_bytes")
    assert board(chosen.arch)
    assert ("cp_async" in chosen.features) == (name != "cuda:sm_75")


def test_peaks_per_sm_are_powers_of_two() -> None:
    # A100: 4 tensor cores of 256 multiply-adds a clock each, by its white paper.
    a100 = target("sm_80")
    assert a100.limit("peak_flops_f16") / 2 / 108 / 1.41e9 == pytest.approx(1024, rel=0.01)


@pytest.mark.parametrize("name", ["cuda:sm_81", "sm_70", "cuda", "cuda:", "cpu:avx2", ""])
def test_an_unknown_target_is_one_line(name: str) -> None:
    with pytest.raises(UnknownName, match="known: cuda:sm_100") as raised:
        target(name)
    assert "\n" not in str(raised.value)


def test_a_close_name_is_suggested() -> None:
    with pytest.raises(UnknownName, match="did you mean 'cuda:sm_80'"):
        target("cuda:sm80")


def test_a_target_travels_between_processes_and_shares_nothing() -> None:
    first = target("cuda:sm_80")
    copy = pickle.loads(pickle.dumps(first))
    assert copy == first and dict(copy.limits) == dict(first.limits)
    dict.__setitem__(first.limits, "sm_count", 1)  # type: ignore[arg-type]
    assert target("cuda:sm_80").limit("sm_count") == 108
