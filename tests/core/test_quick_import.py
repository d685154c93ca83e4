"""TVM is imported without PyTorch, and both work afterwards."""

import gc
import subprocess
import sys
from importlib.util import find_spec

import pytest

from tuner.core.quick_import import quick_import

CODE = """
import sys
from tuner.core.quick_import import quick_import
quick_import("tvm", "tvm.s_tir")
assert "tvm" in sys.modules and "torch" not in sys.modules
import torch
import tvm
print(tvm.runtime.from_dlpack(torch.arange(3)).numpy().tolist())
"""


@pytest.mark.skipif(not (find_spec("tvm") and find_spec("torch")), reason="needs TVM and PyTorch")
def test_torch_stays_out_and_can_be_imported_and_used_with_tvm_later():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert done.stdout.strip() == "[0, 1, 2]", done.stderr


def test_a_failed_import_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        quick_import("no_such_module")
    assert "torch" not in sys.modules
    assert gc.isenabled()


def test_what_asks_whether_torch_is_imported_finds_it_absent(tmp_path, monkeypatch: pytest.MonkeyPatch):
    """SciPy does that, and takes `None` in `sys.modules` for the module."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    (tmp_path / "asks_for_torch.py").write_text(
        "import sys\nassert 'torch' not in sys.modules\n"
        "try:\n    import torch\nexcept ImportError:\n    FOUND = False\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    quick_import("asks_for_torch")
    assert sys.modules["asks_for_torch"].FOUND is False


def test_a_torch_that_is_there_stays(monkeypatch: pytest.MonkeyPatch):
    present = object()
    monkeypatch.setitem(sys.modules, "torch", present)
    quick_import("json")
    assert sys.modules["torch"] is present
