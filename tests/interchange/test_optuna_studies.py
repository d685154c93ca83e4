"""`tuner export --format optuna`: studies that Optuna itself loads, with the outcomes of the trials."""

from pathlib import Path

import pytest

from tests.serve.made import HOSTILE, fill
from tuner.core.errors import TunerError
from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.trial import Trial
from tuner.engine.recorded.studies import export_studies
from tuner.store.store import open_store

optuna = pytest.importorskip("optuna")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    fill(tmp_path / "r.db")
    return tmp_path / "r.db"


def storage_of(file: Path) -> object:
    if file.suffix == ".log":
        from optuna.storages.journal import JournalFileBackend

        return optuna.storages.JournalStorage(JournalFileBackend(str(file)))
    return f"sqlite:///{file}"


@pytest.mark.parametrize("name", [pytest.param("studies.db", marks=pytest.mark.slow), "studies.log"])
def test_optuna_loads_what_was_stored(path: Path, name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    with open_store(path, read_only=True) as store:
        studies, trials = export_studies(store, file, "gemm/f32/m256-n256-k256", None, None)
        sweep = store.sweeps(workload_key="gemm/f32/m256-n256-k256")[-1]
        stored = {t.id: t for t in store.sweep_history(sweep.id)}
    storage = storage_of(file)
    names = optuna.get_all_study_names(storage)
    assert len(names) == studies == 5
    (mine,) = (each for each in names if each.startswith(f"gemm/f32/m256-n256-k256 {HOSTILE}"))
    study = optuna.load_study(study_name=mine, storage=storage)
    assert study.best_value == sweep.best_s and study.direction.name == "MINIMIZE"
    for trial in study.trials:
        known = stored[trial.user_attrs["trial"]]
        assert trial.params == known.key.config
        assert trial.user_attrs["status"] == known.measurement.status
        assert (trial.state.name, trial.value) == (
            ("COMPLETE", known.measurement.time_s) if known.measurement.ok else ("FAIL", None)
        )
    assert trials == sum(len(optuna.load_study(study_name=n, storage=storage).trials) for n in names)


def test_a_prediction_is_in_a_study_of_its_own(path: Path, tmp_path: Path) -> None:
    with open_store(path) as store:
        spec = store.sweep(2).spec
        sweep = store.begin_sweep(spec)
        known = next(t for t in store.sweep_history(2) if t.measurement.ok)
        config = {**known.key.config, "MC": 7}
        key = type(known.key)(**{**known.key.__dict__, "config": config} | {"config": config})
        key.__dict__.pop("digest", None)
        store.add_trials(sweep, [Trial(key, Measurement(Status.OK, Evidence.PREDICTED, (1e-9,)))])
        export_studies(store, tmp_path / "s.log", None, "cpp_packed", "a DEVICE")
    names = optuna.get_all_study_names(storage_of(tmp_path / "s.log"))
    assert sum(name.endswith("(predicted)") for name in names) == 1
    measured = [n for n in names if "m256-" in n and not n.endswith("(predicted)")]
    assert all(optuna.load_study(study_name=n, storage=storage_of(tmp_path / "s.log")).best_value > 1e-6
               for n in measured)  # fmt: skip


def test_what_cannot_be_written_is_one_line(path: Path, tmp_path: Path) -> None:
    (tmp_path / "there.db").write_text("x")
    with open_store(path, read_only=True) as store:
        for file, why in (
            (tmp_path / "there.db", "is there already"),
            (tmp_path / "no/x.db", "does not exist"),
        ):
            with pytest.raises(TunerError, match=why):
                export_studies(store, file, None, None, None)
        with pytest.raises(TunerError, match="nothing is stored"):
            export_studies(store, tmp_path / "x.db", None, "no_such_kernel", None)
    assert (tmp_path / "there.db").read_text() == "x" and not (tmp_path / "x.db").exists()
