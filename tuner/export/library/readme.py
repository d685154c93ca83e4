"""What lies beside a library for whoever gets it: what is in it, and a program that compiles against it."""

from collections.abc import Sequence

from tuner.core.kernel import less_accurate
from tuner.export.library.header import dtype_constant, literal
from tuner.export.library.plan import LibraryPlan, OperatorPlan

_README = """# lib{name}.so: tuned kernels of {operators}

Written by kernel-tuner-lab. A C program needs the header and the library, no Python and nothing of the lab.

| file | what |
| --- | --- |
| `include/{name}.h` | the entries, for C99 and C++ |
| `lib/lib{name}.so` | the kernels; needs libgomp and libstdc++ |
| `lib/pkgconfig/{name}.pc` | `pkg-config {name}` |
| `lib/cmake/{name}/` | `find_package({name})`, the target `{name}::{name}` |
| `share/{name}/{name}.json` | what was measured of each tuned shape, on what, with which compiler |
{cuda}
The folder may be moved as a whole: nothing in it names the place where it was written.

## Use

`example.c`:

```c
{example}```

With pkg-config; `PREFIX` is this folder:

```sh
export PKG_CONFIG_PATH="$PREFIX/lib/pkgconfig"
cc -std=c99 example.c $(pkg-config --cflags --libs {name}) -o example
LD_LIBRARY_PATH="$PREFIX/lib" ./example
```

With CMake, `CMakeLists.txt`:

```cmake
cmake_minimum_required(VERSION 3.13)
project(example C)
find_package({name} {version} CONFIG REQUIRED)
add_executable(example example.c)
target_link_libraries(example {name}::{name})
```

```sh
cmake -S . -B build -DCMAKE_PREFIX_PATH="$PREFIX"
cmake --build build
./build/example
```

## What is in it

Compiled for {levels}: a processor gets the first of these whose instructions it has.

{entries}Of a tuned shape an entry calls that shape's own best kernel, for any other size what the rule of the
tuned ones says. Static kernels, compiled by TVM, serve their own shape only. Each entry has a companion
whose name ends in `_kernel`: it says which kernel a problem gets. Threads may call every entry at once.
"""


def readme(name: str, plan: LibraryPlan, levels: Sequence[str], version: str, cubins: bool) -> str:
    """The text, in Markdown. Its program calls the first operator with a tuned shape.

    Args:
        name: of the library.
        plan: what is in it.
        levels: names of the processors it has kernels for, the most demanding first.
        version: of the interface.
        cubins: whether GPU kernels lie beside it.
    """
    cuda = (
        f"| `share/{name}/cuda/` | GPU kernels, and how each is launched: `manifest.json` |\n"
        if cubins
        else ""
    )
    return _README.format(
        name=name, operators=", ".join(p.operator.name for p in plan.operators), version=version,
        example=_example(name, plan.operators[0]), levels=", ".join(levels),
        cuda=cuda, entries="".join(_entry(name, p) for p in plan.operators),
    )  # fmt: skip


def _entry(name: str, plan: OperatorPlan) -> str:
    lines = [f"`{name}_{plan.operator.name}`:", ""]
    for one in plan.classes:
        tuned = one.levels[0].exact
        unusual = [f"{k}={v}" for k, v in one.options.items() if v != plan.operator.options[k]]
        static = sum(variant.static for variant in tuned.values())
        plural = "s" * (len(tuned) != 1)
        lines.append(
            f"- {one.dtype}, {' '.join(unusual) or 'default options'}: {len(tuned)} tuned shape{plural}"
            + (f", {static} of them with a static kernel" if static else "")
        )
    lines += [f"- {line}" for line in less_accurate(variant.kernel for variant in plan.variants)]
    return "\n".join(lines) + "\n\n"


def _example(name: str, plan: OperatorPlan) -> str:
    """A program that calls an entry with a tuned shape, on tensors of zeros."""
    operator, one = plan.operator, plan.classes[0]
    dims = dict(zip(operator.dims, next(iter(one.levels[0].exact)), strict=True))
    workload = operator.workload(one.dtype, **dims, **one.options)
    entry, changed = (
        f"{name}_{operator.name}",
        {k: v for k, v in one.options.items() if v != operator.options[k]},
    )
    tensors = [f".{s.name} = calloc({s.nbytes}, 1)" for s in operator.signature(workload)]
    lines = [
        f"#include <{name}.h>", "#include <stdio.h>", "#include <stdlib.h>", "", "int main(void) {",
        f"    {entry}_problem problem = {entry}_of({', '.join(map(str, dims.values()))});",
        *(f"    problem.{option} = {literal(value)};" for option, value in changed.items()),
        f"    {entry}_tensors tensors = {{", *(f"        {tensor}," for tensor in tensors), "    };",
        f"    int code = {entry}({dtype_constant(name, one.dtype)}, &problem, &tensors);",
        f"    const char* kernel = {entry}_kernel({dtype_constant(name, one.dtype)}, &problem);",
        f'    printf("%s: %s\\n", {name}_message(code), kernel ? kernel : "no kernel");',
        f"    return code != {name.upper()}_OK;", "}", "",
    ]  # fmt: skip
    return "\n".join(lines)
