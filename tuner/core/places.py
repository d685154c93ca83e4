"""Where the lab's own files lie: tuner/, schedules/ and cuda_src/ are neighbours, in a checkout and in
site-packages alike."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CUDA_SRC = ROOT / "cuda_src"
SCHEDULES = ROOT / "schedules"
