"""Tunes several models in one database and compares each whole: `python -m tuner.lab.bench_models --db m.db`.

A line a model: milliseconds a run of the tuned kernels and of ONNX Runtime's fastest setting, both measured
in turns, and the ratio with its 95% interval; below, the ratios' geometric mean and the least of them. Models
are `.onnx` files or names of `tuner.lab.graphs`, which are made once and kept beside the database. Each is
tuned (`tuner model tune`) and compared (`tuner model compare`) in processes of its own; interrupted, the same
command goes on. `--minutes 0` only compares what the database has.
"""

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tuner.core.errors import TunerError
from tuner.model.contestants import OURS, RUNTIME

MODELS = ("shufflenet", "squeezenet", "densenet121", "resnet50", "yolov5s", "bert-base")
_SAMPLES = 4


@dataclass(frozen=True)
class ModelRow:
    """One model compared.

    Attributes:
        model: its name.
        ours_s, runtime_s: seconds a run, by the tuned kernels and by ONNX Runtime's fastest setting.
        ratio: of the latter to the former, with its interval: low, middle, high.
        note: what the executor consists of, or why there is no time; what disturbed the measurement.
    """

    model: str
    ours_s: float = math.nan
    runtime_s: float = math.nan
    ratio: tuple[float, float, float] = (math.nan,) * 3
    note: str = ""

    def line(self) -> str:
        """For the table."""
        if math.isnan(self.ratio[1]):
            return f"{self.model:<20} {self.note}"
        low, middle, high = self.ratio
        return (
            f"{self.model:<20} {1e3 * self.ours_s:8.3g} ms {1e3 * self.runtime_s:8.3g} ms "
            f"{middle:.2f}x [{low:.2f}, {high:.2f}]  {self.note}"
        )


def row_of(model: str, compared: Mapping[str, Any]) -> ModelRow:
    """The row of what `tuner model compare --json` says of one batch."""
    timed = {each["name"]: each for each in compared["timed"]}
    theirs = [each["latency_s"] for name, each in timed.items() if name.startswith(RUNTIME)]
    mine = timed.get(OURS)
    if mine is None or not theirs or mine["speedup_over_best_onnxruntime"] is None:
        wrong = "its outputs are wrong" if OURS in compared["wrong"] else "not timed"
        return ModelRow(model, note=compared["missing"].get(OURS, wrong))
    note = mine["note"] + (f"; disturbed: {compared['disturbed']}" if compared["disturbed"] else "")
    low, middle, high = mine["speedup_over_best_onnxruntime"]
    return ModelRow(model, mine["latency_s"], min(theirs), (low, middle, high), note)


def summary(rows: Sequence[ModelRow]) -> str:
    """The ratios' geometric mean and the least of them; models without a time are counted."""
    ratios = [row.ratio[1] for row in rows if not math.isnan(row.ratio[1])]
    if not ratios:
        return "no model was timed"
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    told = f"geometric mean of {len(ratios)}: {mean:.2f}x, least {min(ratios):.2f}x"
    return told + (f"; {len(rows) - len(ratios)} not timed" if len(ratios) < len(rows) else "")


def model_file(given: str, folder: Path) -> Path:
    """The file of a model, made where it is a name and not there yet.

    Raises:
        TunerError: there is no model of this name.
    """
    from tuner.lab.graphs import make

    if given.endswith(".onnx"):
        return Path(given)
    path = folder / f"{given}.onnx"
    if not path.exists():
        made = path.with_suffix(".part")
        made.write_bytes(make(given).SerializeToString())
        made.rename(path)
    return path


def one_each(path: Path) -> dict[str, int]:
    """Sizes of symbolic first dimensions of a model's inputs: batch 1.

    Raises:
        ModelError: it is no ONNX file.
    """
    from tuner.model.guards import parse

    graph = parse(path).graph
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in stored]
    firsts = [value.type.tensor_type.shape.dim[:1] for value in inputs]
    return dict.fromkeys(sorted({d.dim_param for dims in firsts for d in dims} - {""}), 1)


def quantized(path: Path, dims: Mapping[str, int]) -> Path:
    """The model's int8 form, calibrated on random inputs and with a scale a channel; made once."""
    from tuner.model.reading import graph_of, prepared
    from tuner.model.runtime import random_inputs

    made, samples = path.with_suffix(".int8.onnx"), path.with_suffix(".npz")
    if not made.exists():
        graph = graph_of(prepared(path, dims, None, weights=True), path, dims)
        drawn = [random_inputs(graph, seed) for seed in range(_SAMPLES)]
        stacked: dict[str, Any] = {n: np.concatenate([one[n] for one in drawn]) for n in graph.inputs}
        np.savez(samples, **stacked)
        way = ("--calibration", str(samples), "--per-channel", "-o", str(made))
        _tuner("model", "quantize", str(path), *way)
    return made


def _tuner(*arguments: str, may_fail: bool = False) -> str:
    """What a `tuner` command prints; what it says on stderr goes there.

    Raises:
        TunerError: it fails.
    """
    done = subprocess.run([sys.executable, "-m", "tuner", *arguments], stdout=subprocess.PIPE, text=True)
    if done.returncode and not (may_fail and done.returncode == 1):
        raise TunerError(f"tuner {' '.join(arguments[:3])} failed: it says why above")
    return done.stdout


def measured(path: Path, dims: Mapping[str, int], said: argparse.Namespace) -> ModelRow:
    """Tunes a model, where minutes are given, and compares it."""
    common = [str(path), *(f"--dim={name}={size}" for name, size in dims.items()), "--db", said.db]
    common += ["--threads", str(said.threads)] if said.threads else []
    if said.minutes:
        _tuner("model", "tune", *common, "--minutes", str(said.minutes))
    told = _tuner("model", "compare", *common, "--rounds", str(said.rounds), "--json", may_fail=True)
    return row_of(path.stem, json.loads(told)[0])


def _asked(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tuner.lab.bench_models", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("models", nargs="*", default=MODELS, help=f"default: {' '.join(MODELS)}")
    parser.add_argument("--minutes", type=float, default=4.0, help="of tuning, each; 0: compare alone")
    parser.add_argument("--db", required=True, help="database; models that are made lie beside it")
    parser.add_argument("--int8", action="store_true", help="int8 forms too, calibrated on random inputs")
    parser.add_argument("--rounds", type=int, default=15, help="turns of a comparison")
    parser.add_argument("--threads", type=int, help="all cores if left out")
    parser.add_argument("--json", action="store_true", help="rows as JSON")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> None:
    """Prints a line a model; exit code 1 where one could not be timed."""
    said, rows = _asked(given), list[ModelRow]()
    try:
        for name in said.models:
            path = model_file(name, Path(said.db).resolve().parent)
            dims = one_each(path)
            for file in [path, *([quantized(path, dims)] if said.int8 else [])]:
                rows.append(measured(file, one_each(file), said))
                print(rows[-1].line(), flush=True, file=sys.stderr if said.json else sys.stdout)
    except TunerError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    if said.json:
        keys = ("model", "ours_s", "runtime_s", "ratio", "note")
        print(json.dumps([{key: getattr(row, key) for key in keys} for row in rows], indent=2))
    else:
        print(summary(rows))
    raise SystemExit(any(math.isnan(row.ratio[1]) for row in rows))


if __name__ == "__main__":
    main()
