"""A database with campaigns, failures and hostile names, and a client of the application over it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serve.made import fill

pytest.importorskip("fastapi", reason="no fastapi (the extra `serve`)")
from fastapi.testclient import TestClient

from tuner.serve.application import application
from tuner.serve.database import Database
from tuner.serve.guard import Guard


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that no test changes."""
    path = tmp_path_factory.mktemp("serve") / "results.db"
    fill(path)
    return path


@pytest.fixture(scope="session")
def client(filled: Path) -> Iterator[TestClient]:
    database = Database(filled)
    app = Guard(application(database), frozenset({"localhost"}))
    with TestClient(app, "http://127.0.0.1", follow_redirects=False) as made:
        yield made
    database.close()
