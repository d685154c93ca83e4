"""asm statements as C++ statements for the emulator."""

import re
from collections.abc import Callable, Mapping, Sequence

from tuner.builders.emulator.ptx.arithmetic import ARITHMETIC
from tuner.builders.emulator.ptx.asm_statements import AsmStatement, asm_statements
from tuner.builders.emulator.ptx.bulk import BULK
from tuner.builders.emulator.ptx.cluster import CLUSTER
from tuner.builders.emulator.ptx.data import DATA
from tuner.builders.emulator.ptx.names import Unknown, Writer
from tuner.builders.emulator.ptx.ptx_text import Declared, Instruction, Item, Label, Scope, read_ptx
from tuner.builders.emulator.ptx.warp import WARP
from tuner.builders.emulator.ptx.warpgroup import WARPGROUP

Emit = Callable[[Writer, list[str], Sequence[str]], str]
"""What an instruction does in C++: given the modifiers behind its name, and its operands."""

TABLE: Mapping[str, Emit] = {**ARITHMETIC, **DATA, **WARP, **WARPGROUP, **CLUSTER, **BULK}
"""Instructions by the first part of their opcode; `Unknown` is raised for modifiers that are not known."""

_TYPES = {"h": "b16", "r": "b32", "l": "b64", "f": "f32", "d": "f64"}
_WIDTHS = {"8": "b8", "16": "b16", "32": "b32", "64": "b64"}


def translate_asm(text: str, skipped: Sequence[str] = ()) -> str:
    """Preprocessed C++ with C++ in place of its asm statements; the lines stay where they are.

    Args:
        text: what the preprocessor wrote, with its line markers.
        skipped: beginnings of the names of files that are left as they are.

    Raises:
        BuildError: an asm statement cannot be read, or names an instruction that is not in the table; the
            message begins with its file and line.
    """
    parts, at = [], 0
    for number, statement in enumerate(asm_statements(text, skipped)):
        parts += [text[at : statement.start], _cxx(statement, number)]
        # The compiler goes on counting where the statement ended, whatever line markers lay within it.
        next_line = statement.line + statement.lines
        parts.append(f'\n# {next_line} "{statement.file}"\n' if statement.lines else "")
        at = statement.end
    return "".join([*parts, text[at:]])


def _cxx(statement: AsmStatement, number: int) -> str:
    try:
        items = read_ptx(statement.template)
    except ValueError as error:
        raise statement.error(f"inline PTX: {error}") from None
    before, names, after = [], {}, []
    runs_on = "wgmma.mma_async" in statement.template
    for i, operand in enumerate(statement.operands):
        if runs_on and operand.constraint.startswith("+"):
            names[f"%{i}"] = f"({operand.expression})"  # itself and no copy: it changes after the statement
            continue
        name = f"cuda_emu_{i}"
        names[f"%{i}"] = name
        kind = _TYPES.get(operand.letter)
        if kind is None:
            before.append(f"const auto {name} = ({operand.expression});")
        elif operand.constraint.startswith("="):
            before.append(f"{_T}{kind} {name}; __builtin_memset(&{name}, 0xff, sizeof {name});")
        else:
            before.append(f"{_T}{kind} {name} = {_T}get<{_T}{kind}>({operand.expression});")
        if operand.constraint[:1] in ("=", "+"):
            after.append(f"{_T}put(({operand.expression}), {name});")
    writer = Writer(statement, number, names)
    body = _scope(writer, items)
    return f"do {{ {' '.join([*before, body, *after])} }} while (0)"


_T = "cuda_emulator::ptx::"


def _scope(writer: Writer, items: Sequence[Item]) -> str:
    # All registers first: a branch may not jump over a declaration.
    declared = [_declare(writer, item) for item in items if isinstance(item, Declared)]
    lines = [_item(writer, item) for item in items if not isinstance(item, Declared)]
    return " ".join([*declared, *lines])


def _declare(writer: Writer, item: Declared) -> str:
    if item.type == "pred":
        kind = "bool"
    else:
        digits = re.sub(r"\D", "", item.type)
        kind = _T + ({"f32": "f32", "f64": "f64"}.get(item.type) or _WIDTHS.get(digits, "b64"))
    names = []
    for name in item.names:
        if series := re.fullmatch(r"(.+?)<(\d+)>", name):
            if len(series[2]) > 5:
                raise writer.statement.error(f"inline PTX: {name[:60]} declares 100,000 registers or more")
            names += [f"{series[1]}{i}" for i in range(int(series[2]))]
        else:
            names.append(name)
    if kind == "bool":
        writer.predicates.update(names)
    for name in names:
        writer.names[name] = f"cuda_emu_r_{_plain(name)}"
    listed = ", ".join(writer.names[name] for name in names)
    return f"{kind} {listed};"


def _plain(name: str) -> str:
    return re.sub(r"\W", lambda m: f"_{ord(m[0]):x}_", name)


def _item(writer: Writer, item: Item) -> str:
    if isinstance(item, Scope):
        outer = dict(writer.names)
        inner = _scope(writer, item.items)
        writer.names = outer
        return f"{{ {inner} }}"
    if isinstance(item, Label):
        return f"{writer.label(item.name)}:;"
    assert isinstance(item, Instruction)
    return _instruction(writer, item)


def _instruction(writer: Writer, item: Instruction) -> str:
    base, *modifiers = item.opcode.split(".")
    emit = TABLE.get(base)
    writer.instruction = item
    try:
        if emit is None:
            raise Unknown
        done = emit(writer, [f".{m}" for m in modifiers], item.operands)
    except (Unknown, IndexError, KeyError) as error:
        why = str(error.args[0]) if isinstance(error, Unknown) and error.args else ""
        raise writer.statement.error(
            f"the CUDA emulator does not know the PTX instruction '{item.opcode[:60]}'{why}: "
            f"{item.text[:100]!r}; guard it with #ifndef __CUDA_EMULATOR__"
        ) from None
    return f"if ({writer.predicate(item.guard)}) {{ {done} }}" if item.guard else f"{{ {done} }}"
