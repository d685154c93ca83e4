"""Small recorded files for the tests, as other tuners write them."""

from typing import Any


def kernel_tuner_cache() -> dict[str, Any]:
    """Two parameters and a constant one; a success, a compile and a run-time failure."""

    def entry(x: int, pad: bool, time: Any, **more: Any) -> dict[str, Any]:
        return {"block_x": x, "pad": pad, "filter": 15, "time": time, "compile_time": 250.5,
                "verification_time": 0, "benchmark_time": 12.25, "strategy_time": 0, "framework_time": 1.5,
                "timestamp": "2023-12-22 09:54:05.502007+00:00", **more}  # fmt: skip

    return {
        "device_name": "NVIDIA GeForce RTX 3090",
        "kernel_name": "convolution_kernel",
        "problem_size": [4096, 4096],
        "tune_params_keys": ["block_x", "pad", "filter"],
        "tune_params": {"block_x": [16, 32, 48, 64], "pad": [False, True], "filter": [15]},
        "objective": "time",
        "cache": {
            "16,False,15": entry(16, False, 1.2, times=[1.1, 1.2, 1.3], **{"GFLOP/s": 1948.15}),
            "16,True,15": entry(16, True, "CompilationFailedConfig"),
            "32,False,15": entry(32, False, 0.3337, times=[0.33, 0.3374]),
            "64,True,15": entry(64, True, "RuntimeFailedConfig"),
            "64,False,15": entry(64, False, 1e20),
        },
    }


def t4() -> dict[str, Any]:
    """The same kind of content in the FAIR T4 format."""

    def result(x: int, invalidity: str, value: Any, **times: Any) -> dict[str, Any]:
        return {
            "timestamp": "2023-12-22 09:54:05.502007+00:00",
            "configuration": {"block_x": x, "layout": "row"},
            "times": {
                "compilation": 918.599,
                "framework": 105.2,
                "search_algorithm": 0,
                "validation": 0,
                **times,
            },
            "invalidity": invalidity,
            "correctness": int(invalidity == "correct"),
            "measurements": [{"name": "time", "value": value, "unit": ""}],
            "objectives": ["time"],
        }

    return {
        "metadata": {"timeunit": "miliseconds"},
        "results": [
            result(32, "correct", 3.9, runtimes=[3.976191997528076, 3.87]),
            result(16, "runtime", "RuntimeFailedConfig"),
            result(64, "compile", "CompilationFailedConfig"),
            result(128, "correctness", "wrong"),
        ],
        "schema_version": "1.0.0",
    }
