"""The name, version and schema of `result.json`, for those who write it and those who read it."""

from pathlib import Path

FORMAT = "kernel-tuner-lab/result"
VERSION = 1
"""Another one where a reader of the old form would misread the new; fields may be added under the same."""

SCHEMA = Path(__file__).with_name("result.schema.json")
"""The JSON Schema (draft 2020-12) of the form; docs/result-file.md says what the fields mean."""
