"""The store on PostgreSQL: the same answers, and the same refusals."""

import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, exc

from tests.store import postgres
from tuner.core.errors import StoreError
from tuner.core.turns import Turns
from tuner.store.models import Base
from tuner.store.records import Final, FinalEntry
from tuner.store.store import Store, open_store


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if reason := postgres.missing():
        pytest.skip(reason)
    with postgres.server(tmp_path_factory.mktemp("postgres")) as found:
        yield found


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    engine = create_engine(url)
    with engine.begin() as connection:
        Base.metadata.drop_all(connection)
        connection.exec_driver_sql("DROP TABLE IF EXISTS alembic_version")
    engine.dispose()
    with open_store(url) as opened:
        yield opened


def test_a_sweep_is_stored_and_answered(store: Store, make: Any, url: str) -> None:
    sweep = store.begin_sweep(make.spec)
    ids = store.add_trials(sweep, [make.timed(2.0, MC=1), make.timed(1.0, MC=2), make.failed(MC=3)])
    store.record_reuse(sweep, 3, ids[0])
    entries = [FinalEntry(i, "candidate", Turns((1.0,) * 7)) for i in ids[:2]]
    store.record_final(Final(make.workload, make.device.fingerprint, make.protocol, entries, None, sweep))
    store.finish_sweep(sweep)
    with open_store(url, read_only=True) as other:
        assert [r.trial_id for r in other.best()] == [ids[1]]
        found = other.sweep(sweep)
        assert (found.trials, found.reused, found.best_s) == (4, 1, 1.0)
        assert found.statuses == {"ok": 3, "crash": 1}
        (group,) = other.history("cpp_packed", "gemm")
        assert [o.value for o in group.observations] == [2.0, 1.0, None]
        assert [t.id for t in other.fastest(sweep, 2)] == [ids[1], ids[0]]
        assert len(other.finals(workload_key=make.workload.key)) == 1


@pytest.mark.parametrize(
    "statement",
    ["UPDATE trials SET time_s = 1e-9", "DELETE FROM trials", "TRUNCATE trials CASCADE",
     "UPDATE trials SET error = 'x' WHERE id = 1"],
)  # fmt: skip
def test_what_was_measured_stays(store: Store, make: Any, url: str, statement: str) -> None:
    store.add_trials(store.begin_sweep(make.spec), [make.timed(1.0)])
    engine = create_engine(url)
    with pytest.raises(exc.DatabaseError, match="append-only"), engine.begin() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()
    assert store.count() == 1


def test_an_identity_is_claimed_once_by_many(store: Store, make: Any, url: str) -> None:
    digests = [make.key({"MC": i}).digest for i in range(30)]
    got: list[str] = []
    start = threading.Barrier(4)

    def claim() -> None:
        with open_store(url) as own:
            sweep = own.begin_sweep(make.spec)
            start.wait()
            for digest in digests:
                found = own.claim(sweep, [digest], make.protocol, 60)
                if not found.elsewhere:
                    got.append(digest)

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(digests)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_all_tests_of_the_store_pass_on_a_server(url: str) -> None:
    here = Path(__file__).parent
    chosen = [str(here / f"test_{name}.py") for name in ("best", "lookup", "round_trip", "claims")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen],
        capture_output=True, text=True,
        env={**os.environ, "TUNER_TEST_URL": url},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.parametrize("driver", ["", "+psycopg", "+psycopg2"])
def test_a_missing_driver_names_the_extra(driver: str) -> None:
    # Which one an URL without a driver means is SQLAlchemy's business.
    for module in [driver.lstrip("+")] if driver else ["psycopg", "psycopg2"]:
        if importlib.util.find_spec(module) is not None:
            pytest.skip(f"{module} is installed")
    with pytest.raises(StoreError, match=r"needs the driver .*kernel-tuner-lab\[postgres\]") as caught:
        open_store(f"postgresql{driver}://me:secret@127.0.0.1:1/x")
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)
