"""The command line in this process: a second less than a process of its own, which has the same `main`."""

import io
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

from tuner import cli


def run_here(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """`tuner ARGUMENTS` with these environment variables: its exit code and what it printed.

    For commands that end soon (bad input, answers from the database); an exception that is no `SystemExit` is
    a traceback to a user, and raised. Signals do what they did before.
    """
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    out, err = io.StringIO(), io.StringIO()
    argv = patch.object(sys, "argv", ["tuner", *arguments])
    try:
        with argv, patch.dict(os.environ, environment), redirect_stdout(out), redirect_stderr(err):
            try:
                cli.main()
            except SystemExit as ended:
                code = ended.code
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
    return subprocess.CompletedProcess(["tuner", *arguments], int(code or 0), out.getvalue(), err.getvalue())
