"""One kernel asked for by its name is the one that reading all kernels finds, however its file spells it."""

import json
import os
import subprocess
import sys

import pytest

from tests.engine.planted import planted
from tuner import registry


@pytest.mark.parametrize("name", sorted(registry.kernels()))
def test_one_alone_is_the_one_among_all(name):
    found = registry._read_kernels(name)
    assert found[name].digest == registry.kernels()[name].digest
    # And little else is read: the files of its neighbours, at most.
    assert len(found) < 5


def test_plug_ins_are_found_however_they_spell_their_names(tmp_path):
    plain = planted(tmp_path, "plain")
    text = plain.path.read_text()
    (tmp_path / "quoted.cpp").write_text(text.replace('name = "plain"', "\"name\" = 'quoted'"))
    (tmp_path / "escaped.cpp").write_text(text.replace('name = "plain"', 'name = "esc\\u0061ped"'))
    (tmp_path / "numpy.cpp").write_text(text.replace('name = "plain"', 'name = "numpy"'))  # in its place
    (tmp_path / "wrong.cpp").write_text(text.replace('name = "plain"', 'name = "wrong"\nnonsense = 1'))
    code = (
        "import json; from tuner import registry\n"
        "names = ['plain', 'quoted', 'escaped', 'numpy', 'wrong', 'none']\n"
        "paths = {n: str(getattr(registry.find_kernel(n), 'path', None)) for n in names}\n"
        "alone = registry.kernels.cache_info().currsize == 0\n"
        "same = all(registry.find_kernel(n) is registry.kernels().get(n) for n in ('plain', 'quoted'))\n"
        "print(json.dumps([paths, alone, same, registry.broken]))"
    )
    environment = {**os.environ, "TUNER_PLUGINS": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    paths, alone, same, broken = json.loads(done.stdout)
    for name in ("plain", "quoted", "escaped", "numpy"):
        assert paths[name] == str(tmp_path / f"{name}.cpp")
    assert paths["wrong"] == paths["none"] == "None" and alone and same
    assert "nonsense" in broken[str(tmp_path / "wrong.cpp")]
