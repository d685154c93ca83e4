"""Measures `tuner report`: `python -m tuner.lab.bench_report` prints JSON.

The page of a campaign of 10,000 trials, alone and among a million others; seconds of a whole process.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tuner.lab import large_store

CAMPAIGN, TOTAL = 10_000, 1_000_000


def measure(folder: Path, total: int) -> dict[str, float]:
    """Seconds and size of the page of a campaign of 10,000 trials, among `total` others, and how long the
    database took to make."""
    database, page = folder / "report.db", folder / "report.html"
    began = time.perf_counter()
    number = large_store.make(database, total, CAMPAIGN)
    made = time.perf_counter() - began
    began = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "tuner",
        "report",
        f"c{number}",
        "--db",
        str(database),
        "--html",
        str(page),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return {"report_s": time.perf_counter() - began, "page_mb": page.stat().st_size / 1e6, "made_s": made}


def main() -> None:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description="Measures the report.")
    parser.add_argument("--trials", type=int, default=TOTAL, help="beside the campaign's")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        alone = measure(Path(folder), 0)
    with tempfile.TemporaryDirectory() as folder:
        among = measure(Path(folder), arguments.trials)
    figures = {
        "report_s": alone["report_s"], "page_mb": alone["page_mb"], "report_among_s": among["report_s"],
        "database_s": among["made_s"],
    }  # fmt: skip
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}, indent=2))


if __name__ == "__main__":
    main()
