"""Groups of entries that kernels take from headers: what is refused, and in which order entries stand."""

from pathlib import Path

import pytest

from tuner import registry
from tuner.core.errors import InvalidSpace
from tuner.core.shared_declarations import with_shared

HEADER = """// Words before it.
/*[tuner.shared]
[tiles.parameters]
TILE = [8, 16]

[tiles.let]
threads = "rows * columns"
columns = "TILE"

[cores.constraints]
threads_fit = "threads <= 1024"
*/
"""


def header(folder: Path, text: str = HEADER, name: str = "shared.h") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_entries_of_groups_stand_before_the_own_and_definitions_where_they_can(tmp_path: Path) -> None:
    declared = {"use": ["tiles", "cores"], "parameters": {"PAD": [0, 1]},
                "let": {"rows": "TILE * 2", "registers": "threads + 8"}}  # fmt: skip
    merged = with_shared(declared, [header(tmp_path)])
    assert list(merged["parameters"]) == ["TILE", "PAD"]
    assert list(merged["let"]) == ["columns", "rows", "threads", "registers"]
    assert merged["constraints"] == {"threads_fit": "threads <= 1024"}
    assert declared["let"] == {"rows": "TILE * 2", "registers": "threads + 8"}


@pytest.mark.parametrize(
    ("use", "text", "message"),
    [
        ("tiles", HEADER, "use is a list of texts, not 'tiles'"),
        (["tile"], HEADER, "did you mean 'tiles'"),
        (["tiles"], "int x;\n", "no header that the file includes has .tuner.shared."),
        (["tiles", "tiles"], HEADER, "twice"),
        (["tiles"], HEADER.replace("[cores.constraints]", "[cores.parameters]\nTILE = [1]\n[cores.let]"), ""),
        (["tiles", "cores"], HEADER.replace("[cores.constraints]", "[cores.let]\na = '1'\n[cores.let2]"),
         "cores.* is a group of tables parameters, let"),
        (["tiles", "cores"], HEADER.replace("[cores.constraints]", "[cores.let]\ncolumns = '1'"),
         "'columns' is declared twice"),
        (["tiles"], HEADER.replace("[tiles.let]", "[tiles.let"), "shared.h is not TOML"),
        (["tiles"], HEADER.replace("[tiles.let]", "let = 3\n[tiles.launch]"), "'tiles' is a group of tables"),
        (["tiles"], HEADER.replace("TILE = [8, 16]", "MINE = [1]"), "'MINE' is declared twice"),
    ],
)  # fmt: skip
def test_a_wrong_use_names_what_is_wrong(tmp_path: Path, use: object, text: str, message: str) -> None:
    declared = {"use": use, "parameters": {"MINE": [1]}}
    if not message:
        with_shared(declared, [header(tmp_path, text)])
        return
    with pytest.raises(InvalidSpace, match=message) as caught:
        with_shared(declared, [header(tmp_path, text)])
    assert "\n" not in str(caught.value)


def test_a_group_in_two_headers_and_a_circle_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpace, match="'tiles' of declarations stands in two headers"):
        with_shared({"use": ["tiles"]}, [header(tmp_path), header(tmp_path, name="other.h")])
    path = tmp_path / "kernel.cpp"
    path.write_text(
        '/*[tuner]\nname = "k"\noperator = "gemm"\nentry = "f"\narguments = ["D"]\nuse = ["tiles"]\n'
        '[let]\nrows = "threads"\n*/\n#include "shared.h"\n'
    )
    with pytest.raises(InvalidSpace, match=r"circle|stands below"):
        registry.source_kernel(path)
