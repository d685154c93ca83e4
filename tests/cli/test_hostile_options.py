"""Every option of every command, with values that are none: one line on stderr, exit code 2, no traceback."""

import sys
import typing
from collections.abc import Iterator

import pytest

from tuner import cli

# What each command needs besides the option under test: nothing here gets as far as to measure.
NEEDED = {
    "sweep": ["gemm", "--shape", "8x8x8", "--kernel", "cpp_naive", "--no-baselines", "--rounds", "0"],
    "check": ["cuda_naive", "--shape", "8x8x8"],
    "inspect": ["cpp_naive", "--shape", "8x8x8"],
    "compare": ["experiments/gemm_demo.toml"],
    "show": ["t1"],
    "import": ["nowhere.json"],
    "export": ["nowhere.json"],
    "replay": ["nowhere"],
    "bench-searchers": ["--spaces", "nowhere.json"],
    "kernels": ["gemm"],
    "dispatch": ["gemm"],
    "model": ["README.md"],
    "model int8": ["README.md", "README.md"],
}
NO_NUMBERS = [
    "nan",
    "inf",
    "-inf",
    "-1",
    "1e400",
    "9" * 23,
    "9" * 5000,
    "0x10",
    "",
    " ",
    "١٢x",
    "1_0_",
    "[[",
    "--",
]
NO_TEXTS = [
    "", "\x1b[2J", "a\nb", "9" * 5000, "[" * 100_000, "²", "cuda:²", "cuda:" + "9" * 5000, "\udc80",
    "../../x", "nan", "{" * 5000, "A=" + "[" * 5000, '{"A": ' + "[" * 500 + "]" * 500 + "}", "{}x",
    "m" + "9" * 30,
]  # fmt: skip


def options() -> Iterator[tuple[str, str, set[type]]]:
    """(command, option, types of its value) of every option; a command of a group is named with it."""
    grouped = [
        (f"{group.typer_instance.info.name} {command.name}", command)
        for group in cli.app.registered_groups
        for command in group.typer_instance.registered_commands
    ]
    for called, command in [*((each.name, each) for each in cli.app.registered_commands), *grouped]:
        for name, hint in typing.get_type_hints(command.callback, include_extras=True).items():
            declared = getattr(hint, "__metadata__", (None,))[0]
            if type(declared).__name__ != "OptionInfo":
                continue
            long = next((d for d in declared.param_decls or () if d.startswith("--")), None)
            kind = hint.__origin__
            kinds = {k for t in (kind, *typing.get_args(kind)) for k in (t, *typing.get_args(t))}
            yield called, long or "--" + name.replace("_", "-"), kinds


NUMBERS = [(c, o) for c, o, kinds in options() if kinds & {int, float}]
TEXTS = [(c, o) for c, o, kinds in options() if str in kinds and o != "--db"]


def needed(command: str) -> list[str]:
    """What a command needs besides the option under test."""
    return NEEDED.get(command, NEEDED.get(command.split()[0], []))


def outcome(monkeypatch, capsys, *arguments) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["tuner", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    return ended.value.code, said.err, said.out


def test_there_are_options_to_test():
    assert {c for c, _ in NUMBERS} >= {
        "sweep",
        "check",
        "inspect",
        "compare",
        "replay",
        "best",
        "bench-searchers",
    }
    assert len(NUMBERS) >= 20 and len(TEXTS) >= 25


@pytest.mark.parametrize(("command", "option"), NUMBERS)
@pytest.mark.sampled(15)
def test_a_number_that_is_none_is_refused(command, option, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("TUNER_DB", str(tmp_path / "a.db"))
    for value in NO_NUMBERS:
        code, err, _ = outcome(monkeypatch, capsys, *command.split(), *needed(command), option, value)
        assert code == 2, (value, err)
        assert err.startswith("error: ") and err.count("\n") == 1 and len(err) < 600, (value, err)
        # Not a field of some class: what was typed, where there is a number at all.
        assert option in err or value == "--", (value, err)
    assert not (tmp_path / "a.db").exists()


@pytest.mark.parametrize(("command", "option"), TEXTS)
@pytest.mark.sampled(24)
def test_a_text_that_means_nothing_is_no_traceback(command, option, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("TUNER_DB", str(tmp_path / "a.db"))
    for value in NO_TEXTS:
        others = needed(command)
        if option in others:
            at = others.index(option)
            others = others[:at] + others[at + 2 :]
        code, err, out = outcome(monkeypatch, capsys, *command.split(), *others, option, value)
        # Where a text is a filter, nothing fits; that is an answer.
        assert code == 2 or (code == 0 and not err), (value, err)
        assert code == 0 or (err.startswith("error: ") and err.count("\n") == 1), (value, err)
        assert "\x1b" not in err and "\x1b" not in out
