"""A batch of a sweep beside other sweeps: what is known, what is its own to measure, what is another's."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tuner.core.protocol import Protocol
from tuner.core.trial import Trial, TrialKey

if TYPE_CHECKING:
    from tuner.store.store import Store

_LOOK_EVERY_S = 0.1
_SAY_AFTER_S = 5.0
# Storing, forking and waiting for the device's lock, beyond what builds and runs may take.
_SLACK_S = 60.0


class Claims:
    """The claims of one batch.

    Args:
        store: where all sweeps claim.
        sweep_id: the sweep.
        protocol: its time limits say how long a claim may last.
        shared: whether outcomes of other sweeps count; a sweep that measures again claims nothing.
    """

    def __init__(self, store: "Store", sweep_id: int, protocol: Protocol, shared: bool) -> None:
        self._store, self._sweep_id, self._protocol, self._shared = store, sweep_id, protocol, shared
        self._open: set[str] = set()

    def split(self, keys: Sequence[TrialKey]) -> tuple[dict[str, Trial], list[TrialKey], list[TrialKey]]:
        """Known outcomes by identity; keys to go through now, those known among them; the others' keys."""
        if not self._shared:
            return {}, list(keys), []
        each = self._protocol.build_timeout_s + self._protocol.run_timeout_s
        digests = [key.digest for key in keys]
        found = self._store.claim(self._sweep_id, digests, self._protocol, len(keys) * each + _SLACK_S)
        self._open = set(digests) - found.known.keys() - found.elsewhere
        here = [key for key in keys if key.digest not in found.elsewhere]
        return found.known, here, [key for key in keys if key.digest in found.elsewhere]

    def done(self, key: TrialKey) -> None:
        """The outcome of a key is stored, and its claim gone with that."""
        self._open.discard(key.digest)

    def release(self) -> None:
        """Gives up what was claimed and not measured: the batch was interrupted."""
        if self._open:
            self._store.release(self._sweep_id, self._open)
            self._open.clear()

    def wait(self, keys: Sequence[TrialKey], note: Callable[[str], None]) -> None:
        """Returns when no other sweep is about to measure one of these."""
        digests = [key.digest for key in keys]
        began, said = time.monotonic(), False
        while self._store.claimed_elsewhere(self._sweep_id, digests):
            if not said and time.monotonic() - began > _SAY_AFTER_S:
                note(
                    f"another sweep is measuring {len(keys)} of these configurations: waiting for its results"
                )
                said = True
            time.sleep(_LOOK_EVERY_S)
