"""What one experiment file is run as, on this machine; and the files that are shipped."""

from pathlib import Path

import pytest

from tuner import registry
from tuner.core.errors import TunerError
from tuner.engine.recorded.searcher_experiment import SearcherExperiment, run_searchers
from tuner.engine.tuning.experiment import asked, read_experiment
from tuner.engine.tuning.variants import variants

SHIPPED = sorted((Path(__file__).resolve().parents[2] / "experiments").glob("*.toml"))
LEARNING = {"gemm": "triton", "conv2d": "conv_triton", "attention": "attn_triton"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_experiment_is_short_and_all_it_names_is_there(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 30
    experiment = read_experiment(path)
    if experiment.recordings:
        assert all((path.parent / name).is_file() for name in experiment.recordings)
        return
    runs, _ = variants(experiment, path.stem)
    assert runs and all(asked(each) for _, each in runs)
    assert all(layer.workload.operator for _, each in runs for layer in each.layers())


@pytest.mark.parametrize("operator", LEARNING)
def test_a_learning_path_measures_here_and_ranks_the_gpu_rungs_on_paper(operator: str) -> None:
    (path,) = [p for p in SHIPPED if p.stem == f"{operator}_learning_path"]
    (here, measured), (there, paper) = variants(read_experiment(path), path.stem)[0]
    assert (here, there) == (path.stem, f"{path.stem}@cuda:sm_90")
    assert {registry.kernel(name).language for name in measured.kernels} == {"cxx", "tensorir"}
    assert LEARNING[operator] in paper.kernels and paper.no_device and not measured.no_device
    assert {registry.kernel(name).language for name in paper.kernels} >= {"nvrtc", "triton", "tensorir"}
    # Nothing is named twice, and nothing that only a device could run is to be measured without one.
    assert not set(measured.kernels) & set(paper.kernels)
    elsewhere = read_experiment(path, place={"device": None, "target": "cuda:sm_90", "no_device": True})
    assert [name for name, _ in variants(elsewhere, path.stem)[0]] == [path.stem]


MOVED = {"device": None, "target": "cuda:sm_90", "no_device": True, "moved": True}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_experiment_goes_to_a_gpu_whatever_kernels_it_names(path: Path) -> None:
    experiment = read_experiment(path, place=MOVED)
    if experiment.recordings:
        return
    ((name, there),), notes = variants(experiment, path.stem)
    # Beside what was measured, not in its place.
    assert name == f"{path.stem}@cuda:sm_90" and there.thread_counts == () and there.threads is None
    named = {k for n in read_experiment(path).kernels for k in registry.kernel(n).target_kinds}
    said = "\n".join(notes)
    # In place of kernels that all are a CPU's those of the GPU take part, and a line says which.
    assert ("names kernels for cpu only" in said) == (named == {"cpu"})
    if named == {"cpu"}:
        operator = experiment.operator
        taking_part = said.rpartition("take part: ")[2].split("\n")[0].split(", ")
        assert taking_part and all(registry.kernel(n).operator == operator for n in taking_part)
        assert all("cuda" in registry.kernel(n).target_kinds for n in taking_part)
        assert not any(registry.kernel(n).baseline for n in taking_part)
    assert ("threads of the file are left out" in said) == (path.stem == "gemm_threads")


def test_a_file_that_contradicts_itself_is_still_refused(tmp_path: Path) -> None:
    text = f'{GEMM}kernels = ["cpp_naive"]\ntarget = "cuda:sm_90"\nno_device = true\n'
    with pytest.raises(TunerError, match="its kernels are for cpu, not cuda"):
        variants(read_experiment(written(tmp_path, text)), "mine")


def test_a_number_that_is_none_goes_by_the_name_of_its_key(tmp_path: Path) -> None:
    for key, text in (("sustained", "sustained = -1.0"), ("lock_clock", "lock_clock = -5")):
        with pytest.raises(TunerError, match=f"mine.toml: {key} is at least 0"):
            read_experiment(written(tmp_path, GEMM + text))


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


GEMM = 'operator = "gemm"\nshapes = ["8x8x8"]\n'


def test_threads_and_element_types_that_do_not_fit_are_left_out_and_said(tmp_path: Path) -> None:
    experiment = read_experiment(
        written(tmp_path, f'{GEMM}threads = [1, 100000]\ndtypes = ["f32", "int8"]\n')
    )
    runs, notes = variants(experiment, "mine")
    assert [(name, each.threads) for name, each in runs] == [("mine@threads1", 1)]
    assert notes[0].startswith("100000 threads are left out: this process may use ")
    assert [layer.workload.dtype for layer in runs[0][1].layers()] == ["f32", "int8"]
    with pytest.raises(TunerError, match="nothing of it can be run here: 100000 threads are left out"):
        variants(read_experiment(written(tmp_path, f"{GEMM}threads = [100000]\n")), "mine")
    with pytest.raises(TunerError, match="its kernels are for cuda, not cpu"):
        variants(read_experiment(written(tmp_path, f'{GEMM}kernels = ["cuda_naive"]\n')), "mine")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{GEMM}threads = []", "threads is a number, or a list of some"),
        (f'{GEMM}threads = ["two"]', "threads is a number, or a list of some"),
        (f'{GEMM}dtype = "f32"\ndtypes = ["f16"]', "dtype or dtypes, not both"),
        (f'{GEMM}on_paper = "cpu:avx2"', "--no-device compiles for a GPU"),
        (f'{GEMM}recordings = ["a.gz"]', "recordings name their kernel and shape"),
        ('recordings = ["../a.gz"]', "recordings lie beside the file or below"),
        ('recordings = ["/etc/a.gz"]', "recordings lie beside the file or below"),
        ('recordings = ["a.gz"]\nsearchers = ["guess"]', "unknown searcher 'guess'"),
        ('recordings = ["a.gz"]\nseeds = 0', "seeds is at least 1"),
        ('workloads = ["resnet50"]\nthreads = [1, 2]', "one number of threads"),
        ("threads = [1]", "missing key 'shapes' or 'workloads', or 'recordings'"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(TunerError, match=words) as caught:
        read_experiment(written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_searchers_are_run_once_and_kept_until_asked_for_again(tmp_path: Path) -> None:
    spaces = SHIPPED[0].parent / "spaces"
    few = SearcherExperiment("few", (spaces / "cpp_register-256.t4.json.gz",), ("random", "local"), 1, 12)
    first = run_searchers(few, tmp_path / "out", processes=1)
    assert first["evidence"] == "replayed" and [row[0] for row in first["table"]] == [
        "searcher",
        "random",
        "local",
    ]
    assert not first["reused"] and run_searchers(few, tmp_path / "out", processes=1)["reused"]
    assert not run_searchers(few, tmp_path / "out", processes=1, rerun=True)["reused"]
    more = SearcherExperiment("few", few.recordings, few.searchers, 1, 13)
    assert more.key != few.key and not run_searchers(more, tmp_path / "out", processes=1)["reused"]
    assert (tmp_path / "out" / "searchers.png").stat().st_size > 1000


def test_a_searcher_that_transfers_knows_the_recordings_of_the_other_problem(tmp_path: Path) -> None:
    spaces = SHIPPED[0].parent / "spaces"
    files = tuple(spaces / f"tir_tiled-{size}.t4.json.gz" for size in (256, 640))
    begun: list[str] = []
    found = run_searchers(
        SearcherExperiment("two", files, ("transfer",), 1, 3), tmp_path, processes=1,
        begin=lambda: begun.append("before the first run"),
    )  # fmt: skip
    assert found["notes"][:2] == [
        "tir_tiled-256.t4: history tir_tiled-640.t4",
        "tir_tiled-640.t4: history tir_tiled-256.t4",
    ]
    assert len(begun) == 1
