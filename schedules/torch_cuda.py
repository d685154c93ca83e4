"""What baselines of PyTorch on a GPU share: whether it is there, and its tensors on the lab's memory."""

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def no_torch() -> str | None:
    """Why PyTorch cannot use a GPU here; `None` if it can. Importing it would take seconds: its file says."""
    found = find_spec("torch")
    if found is None or found.origin is None:
        return "torch is not installed: pip install torch"
    try:
        told = Path(found.origin).with_name("version.py").read_text()
    except OSError:
        return None  # an older or newer layout: the run says more
    if re.search(r"^cuda\b.*=\s*None", told, re.MULTILINE):
        return "torch is a build for CPUs here: pip install torch --index-url https://download.pytorch.org/whl/cu130"
    return None


def start_on_gpu(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """PyTorch's tensors on the memory of CuPy's arrays; from now on it works on CuPy's current stream.

    f32 is f32: without TF32. cuDNN times its own algorithms first, as programs with equal shapes let it.

    Raises:
        RuntimeError: PyTorch cannot use the GPU.
    """
    import cupy
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError("torch finds no GPU that it can use")
    torch.set_grad_enabled(False)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    torch.cuda.set_stream(torch.cuda.ExternalStream(int(cupy.cuda.get_current_stream().ptr)))
    return {name: _tensor(torch, array) for name, array in tensors.items()}


def _tensor(torch: Any, array: Any) -> Any:
    # The CUDA Array Interface has no code for bfloat16: its bits go over.
    if array.dtype.name == "bfloat16":
        return torch.as_tensor(array.view("int16"), device="cuda").view(torch.bfloat16)
    return torch.as_tensor(array, device="cuda")
