"""Builder "python": library baselines, which need no compiling, only a record of what would run."""

import json
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tuner.core.artifact import Artifact, Toolchain
from tuner.core.builder import Builder
from tuner.core.digest import digest
from tuner.core.errors import BuildError
from tuner.core.kernel import Source
from tuner.core.target import Target

# Of each library the baselines use; threadpoolctl can tell no more without loading them.
_LIBRARIES = ("numpy", "torch", "onnxruntime", "onnx")
# Of these only where they are installed: a record made without them is one made without them.
_OPTIONAL = ("jax", "jaxlib", "mkl", "onednn-cpu-gomp")
# Of these only where kernels are launched on a GPU, for the same reason.
_OF_GPUS = (
    "cupy-cuda12x", "cupy-cuda13x", "nvidia-cublas", "nvidia-cublas-cu12", "nvidia-cudnn-cu12",
    "nvidia-cudnn-cu13", "flash-attn",
)  # fmt: skip


@cache
def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


class PythonBuilder(Builder):
    """Writes down which factory makes the call for which workload, with the library versions."""

    name = "python"

    def toolchain(self, target: Target) -> Toolchain:
        """The Python version, and the versions of all libraries that baselines use."""
        optional = _OPTIONAL + (_OF_GPUS if target.kind == "cuda" else ())
        names = _LIBRARIES + tuple(name for name in optional if _version(name) != "absent")
        return Toolchain(
            "python", platform.python_version(), tuple(f"{name}={_version(name)}" for name in names)
        )

    def build(self, source: Source, target: Target, folder: Path) -> Artifact:
        """Writes `callable.json` into `folder`: `factory`, `workload`, `libraries` with versions, `config`.

        Raises:
            BuildError: the text is not `module:function`, or there is no such module.
        """
        module, separator, function = source.text.partition(":")
        if not separator or not function.isidentifier():
            raise BuildError(f"a python source is 'module:function', not {source.text!r}")
        try:
            found = find_spec(module)
        except (ImportError, ValueError):
            found = None
        if found is None:
            raise BuildError(f"there is no module {module!r}")
        record: dict[str, Any] = {
            "factory": source.text,
            "workload": source.options["workload"],
            "libraries": {name: _version(name) for name in source.options.get("libraries", ())},
        }
        if config := source.options.get("config"):
            record["config"] = dict(config)
        path = folder / "callable.json"
        path.write_text(json.dumps(record, indent=1, sort_keys=True))
        return Artifact(
            path=path,
            format="callable",
            entry=source.text,
            arguments=source.arguments,
            digest=digest([record, source.threads]),
            toolchain=self.toolchain(target),
            threads=source.threads,
        )
