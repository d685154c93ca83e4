"""Who took no part: a line for each reason, and no reason twice in what one command prints."""

from tuner.report.left_out import once, skipped_lines


def test_kernels_with_one_reason_share_a_line() -> None:
    skipped = {
        "mkl": "not installed",
        "numpy": "",
        "jax": "no wheel: see docs",
        "mkl_packed": "not installed",
    }
    assert skipped_lines(skipped) == [
        "left out: mkl, mkl_packed: not installed",
        "left out: jax: no wheel: see docs",
    ]


def test_a_reason_that_was_printed_is_only_named_and_all_else_is_printed_again() -> None:
    said: set[str] = set()
    first = ["left out: jax: not installed", "left out: torch: no int8", "a doubt"]
    assert once(first, said) == first
    second = ["left out: jax: not installed", "left out: torch: no f16", "a doubt"]
    assert once(second, said) == [
        "left out for the reasons above: jax",
        "left out: torch: no f16",
        "a doubt",
    ]
