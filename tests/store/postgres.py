"""A PostgreSQL server of a test's own: on loopback, in a temporary folder, gone afterwards."""

import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def _program(name: str) -> str | None:
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(places[-1]) if places else None)


def missing() -> str | None:
    """Why no server can be started here."""
    if importlib.util.find_spec("psycopg") is None:
        return "no psycopg (the extra `postgres`)"
    if _program("initdb") is None or _program("postgres") is None:
        return "no PostgreSQL server (apt-get install postgresql)"
    if os.geteuid() == 0 and _account() is None:
        return "root may not run PostgreSQL, and there is no user postgres"
    return None


def _account() -> str | None:
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return None


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """The URL of a new, empty database; the server ends with the context."""
    data = folder / "data"
    data.mkdir()
    user = _account() if os.geteuid() == 0 else None
    if user:
        for place in (data, *folder.parents[:4], folder):
            place.chmod(0o755)
        shutil.chown(data, user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    initdb, postgres = _program("initdb"), _program("postgres")
    assert initdb and postgres
    common = {"user": user, "cwd": str(data), "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    made = [initdb, "-D", str(data), "-U", "lab", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
    subprocess.run(made, check=True, timeout=120, **common)
    asked = [postgres, "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", "", "-F"]
    running = subprocess.Popen(asked, **common)
    try:
        _await(port, running)
        yield f"postgresql+psycopg://lab@127.0.0.1:{port}/postgres"
    finally:
        running.terminate()
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def _await(port: int, running: "subprocess.Popen[bytes]") -> None:
    import time

    import psycopg

    until = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(host="127.0.0.1", port=port, user="lab", dbname="postgres").close()
            return
        except psycopg.OperationalError:
            if running.poll() is not None or time.monotonic() > until:
                pytest.skip("the PostgreSQL server does not start here")
            time.sleep(0.1)
