"""Stable digests: the same value gives the same text in every process and on every machine."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces; mappings and sequences of plain values only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any) -> str:
    """The first 16 hexadecimal digits (64 bits) of the SHA-256 of `value`'s canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


def digest_files(paths: Iterable[Path]) -> str:
    """A digest of the contents of files in the order given; their names and places do not count."""
    return digest_contents(path.read_bytes() for path in paths)


def digest_contents(contents: Iterable[bytes]) -> str:
    """As `digest_files`, of what is in them."""
    state = hashlib.sha256()
    for content in contents:
        state.update(len(content).to_bytes(8, "little"))
        state.update(content)
    return state.hexdigest()[:16]
