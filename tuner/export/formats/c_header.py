"""A C header: one `#define` a parameter, named by operator, shape, kernel and parameter.

Numbers and yes and no (0, 1) can be asked for by the preprocessor, texts are string literals. With several
devices a program says which by `TUNED_FOR_...` before it includes the header.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tuner.core.output_file import put
from tuner.core.space import Value
from tuner.export.best import Best, by


def macro(*parts: str) -> str:
    """A macro's name of texts: `gemm/f32/m64-n64-k64` gives `GEMM_F32_M64_N64_K64`."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", "_".join(parts)).strip("_").upper()
    return f"_{name}" if name[:1].isdigit() else name


def write(rows: Sequence[Best], path: Path) -> list[Path]:
    """One file of everything."""
    guard = macro(path.stem, "h")
    devices = by(rows, "device", "fingerprint")
    lines = [
        "/* Tuned configurations. Written by kernel-tuner-lab. */",
        f"#ifndef {guard}",
        f"#define {guard}",
    ]
    names = {device: macro("tuned_for", device[0]) for device in devices}
    if len(set(names.values())) < len(names):  # two chips of one model
        names = {device: macro("tuned_for", *device) for device in devices}
    for number, (device, members) in enumerate(devices.items()):
        if len(devices) > 1:
            lines.append(f"{'#if' if number == 0 else '#elif'} defined({names[device]})")
        lines += ["", f"/* {_comment(device[0])} */", *_defines(members)]
    if len(devices) > 1:
        lines += ["#else", f'#error "define one of {", ".join(names.values())}"', "#endif"]
    return [put(path, "\n".join([*lines, "", f"#endif /* {guard} */", ""]))]


def _defines(rows: Sequence[Best]) -> Iterator[str]:
    for best in rows:
        row = best.row
        named = f"{_comment(row.workload.key)} by {_comment(row.kernel.name)}"
        yield f"/* {named}: {row.time_s:.6g} s, {row.evidence} */"
        prefix = macro(row.workload.key)
        yield f"#define {prefix}_KERNEL {_literal(row.kernel.name)}"
        for name, value in row.config.items():
            yield f"#define {macro(row.workload.key, name)} {_literal(value)}"


def _literal(value: Value) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, str):
        # C reads JSON's escapes alike, but for those beyond ASCII; and `??/` once was a backslash.
        return json.dumps(value).replace("?", "\\?")
    return f"({value!r})" if value < 0 else repr(value)


def _comment(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text).replace("*/", "* /").replace("/*", "/ *")
