"""The formats by name."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tuner.export.best import Best
from tuner.export.formats import c_header, json_file, kernel_tuner, serving, t4, triton_config

Writer = Callable[[Sequence[Best], Path], list[Path]]


def writers() -> Mapping[str, Writer]:
    """The writers by the name of their format."""
    return {
        "json": json_file.write,
        "c-header": c_header.write,
        "triton-config": triton_config.write,
        "kernel-tuner": kernel_tuner.write,
        "t4": t4.write,
        **serving.WRITERS,
    }
