"""Makers of sweeps and trials, with plain defaults."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.protocol import Protocol
from tuner.core.trial import Trial, TrialKey
from tuner.core.workload import Workload
from tuner.store.models import Base
from tuner.store.records import DeviceInfo, KernelInfo, SweepSpec
from tuner.store.store import Store, open_store

GEMM = Workload("gemm", "f32", (("m", 64), ("n", 32), ("k", 16)))
PACKED = KernelInfo("cpp_packed", "source1", "cxx", "gemm")
PROTOCOL = Protocol()


@dataclass
class Maker:
    """A sweep specification and trials that belong to it; `with_` makes a variant."""

    workload: Workload = GEMM
    kernel: KernelInfo = PACKED
    device: DeviceInfo = field(
        default_factory=lambda: DeviceInfo("cpu-1", "EPYC", "cpu", "cpu:avx2", {"cores": 2})
    )
    protocol: Protocol = PROTOCOL
    searcher: str = "random"
    seed: int = 0

    def with_(self, **changes: Any) -> "Maker":
        return replace(self, **changes)

    @property
    def spec(self) -> SweepSpec:
        return SweepSpec(
            self.workload, self.device, self.kernel, "cpu:avx2", self.searcher, self.seed, self.protocol
        )

    def key(self, config: dict[str, Any] | None = None) -> TrialKey:
        return TrialKey(
            self.workload, self.kernel.name, self.kernel.digest, config or {"MC": 1}, "cpu:avx2", "tool",
            self.device.fingerprint, self.protocol.digest,
        )  # fmt: skip

    def trial(self, measurement: Measurement, **config: Any) -> Trial:
        return Trial(self.key(config), measurement)

    def timed(self, seconds: float, evidence: Evidence = Evidence.MEASURED, **config: Any) -> Trial:
        return self.trial(Measurement(Status.OK, evidence, (seconds,)), **(config or {"MC": seconds}))

    def failed(self, status: Status = Status.CRASH, **config: Any) -> Trial:
        return self.trial(Measurement(status, Evidence.MEASURED, error="it failed"), **config)


@pytest.fixture
def make() -> Maker:
    return Maker()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    """An empty store: a new file, or the database at `$TUNER_TEST_URL`, whose tables are dropped."""
    url = os.environ.get("TUNER_TEST_URL")
    if url:
        engine = create_engine(url)
        with engine.begin() as connection:
            Base.metadata.drop_all(connection)
            connection.exec_driver_sql("DROP TABLE IF EXISTS alembic_version")
        engine.dispose()
    with open_store(url or path) as opened:
        yield opened


@pytest.fixture
def file(store: Store, path: Path) -> Path:
    """The SQLite file of `store`, for tests that look into it with another tool."""
    if not path.exists():
        pytest.skip("TUNER_TEST_URL names another database")
    return path
