"""Our side of the judge: starts it, hands it runners, and brings back what it says.

A judge lives as long as a workshop. One that ended (the system was short of memory, Ctrl-C) is replaced, and
computes its datasets anew.
"""

import base64
import contextlib
import math
import pickle
from typing import Any

from tuner.core.brief import brief
from tuner.core.device import Device
from tuner.core.errors import TunerError
from tuner.core.operator import Operator
from tuner.core.protocol import Protocol
from tuner.core.workload import Workload
from tuner.engine.judging import judge
from tuner.engine.judging.dataset import DatasetRequest
from tuner.engine.processes.channel import ChannelClosed, ChannelGarbage
from tuner.engine.processes.limits import Limits
from tuner.engine.processes.machine_faults import Fault
from tuner.engine.processes.workers import ChildLost, Warm, Workers
from tuner.engine.processes.zygote import Child

# Beyond what a runner has: the judge's own work, a comparison of the largest outputs included.
_JUDGING_S = 60.0


class JudgeClient:
    """The judge of a workshop.

    Args:
        workers: to fork from.
        warm: the process that runners and judge are forked from.
        device, protocol: what is measured, how.
        patience_s: for the reference of one workload.
    """

    def __init__(
        self, workers: Workers, warm: Warm, device: Device, protocol: Protocol, patience_s: float
    ) -> None:
        self._workers, self._warm, self._patience_s = workers, warm, patience_s
        self._payload = {"device": device, "protocol": protocol}
        self._timeout_s = protocol.run_timeout_s
        self._judge: Child | None = None
        self._prepared: dict[str, dict[str, Any]] = {}

    # --- datasets -----------------------------------------------------------------------------------------

    def prepare(self, operator: Operator, workload: Workload, seed: int) -> None:
        """Computes a dataset, once.

        Raises:
            TunerError: it does not fit in memory, or the reference fails.
        """
        if workload.key in self._prepared and self._judge is not None:
            return
        self._prepared[workload.key] = {
            "do": "prepare",
            # Without a digest of the inputs: they are computed in the judge alone.
            "dataset": DatasetRequest(operator.name, workload.key, seed).as_dict(),
            "operator": base64.b64encode(pickle.dumps(operator)).decode(),
        }  # fmt: skip
        try:
            if self._judge is not None:
                self._compute(self._judge, workload.key)
            else:
                self._running()
        except BaseException:
            self._prepared.pop(workload.key, None)
            raise

    def _compute(self, child: Child, key: str) -> None:
        complaint = f"the reference of {key} cannot be computed"
        try:
            answer = self._workers.converse(child, self._prepared[key], self._patience_s)
        except ChildLost as lost:
            self._judge = None
            raise TunerError(f"{complaint}: {lost}") from None
        except BaseException:
            self.stop()
            raise
        if not isinstance(answer, dict) or "broken" in answer:
            raise TunerError(
                f"{complaint}: {answer['broken'] if isinstance(answer, dict) else brief(answer)}"
            )

    def forget(self, workload: Workload) -> None:
        """Lets a dataset go."""
        if self._prepared.pop(workload.key, None) is not None and self._judge is not None:
            with contextlib.suppress(ChildLost):
                self._ask({"do": "forget", "workload": workload.key})

    # --- the judge ----------------------------------------------------------------------------------------

    def _running(self) -> Child:
        """The judge, with all datasets."""
        if self._judge is None:
            child = self._workers.start(self._warm, judge.judge_job, self._payload, Limits())
            self._judge = child
            try:
                for key in self._prepared:
                    self._compute(child, key)
            except BaseException:
                self.stop()  # it knows some of the datasets only
                raise
        return self._judge

    def stop(self) -> None:
        """Ends the judge; the next question starts another."""
        if self._judge is not None:
            self._judge.kill()
            self._judge = None

    def _ask(self, request: dict[str, Any], runner: Child | None = None) -> Any:
        """The judge's answer, a dictionary.

        Raises:
            ChildLost: the judge ended, or took too long.
        """
        child = self._running()
        try:
            try:
                child.channel.send(request)
                if runner is not None:
                    child.channel.send_descriptor(runner.channel.fileno())
            except ChannelClosed:
                pass  # `receive` finds out how it ended
            answer = self._workers.receive(child, self._timeout_s + _JUDGING_S)
        except ChildLost as lost:
            self._judge = None
            # Whatever ended the judge, no candidate did: candidates run in other processes.
            fault = lost.fault or Fault(f"the judging process: {lost}", passing=True)
            raise ChildLost(fault.reason, lost.timed_out, fault) from None
        except BaseException:
            # Ctrl-C, perhaps: an answer that comes later would be taken for another's.
            self.stop()
            raise
        if not isinstance(answer, dict) or "broken" in answer:
            self.stop()
            raise TunerError(
                f"judging failed: {answer['broken'] if isinstance(answer, dict) else brief(answer)}"
            )
        return answer

    # --- trials -------------------------------------------------------------------------------------------

    def trial(self, child: Child, request: dict[str, Any], kept: bool) -> dict[str, Any]:
        """One trial in a runner: what `judge` answers.

        Raises:
            ChildLost: the runner ended or took too long; it is gone then.
        """
        told = {"do": "trial", "pid": child.pid, "kept": kept, **request}
        try:
            answer: dict[str, Any] = self._ask(told, None if kept else child)
        except BaseException:
            self.dismiss(child)
            raise
        if answer.get("status") == "run_timeout":
            self.dismiss(child)
            raise ChildLost(f"no result within {self._timeout_s:g} s", True)
        if answer.get("status") == "lost" and answer.get("garbled"):
            # The child may live on, its memory overwritten. We end it: its exit is no fault of the machine.
            self.dismiss(child)
            raise ChildLost(str(answer.get("error")), False)
        if answer.get("status") == "lost":
            lost = self._workers.lost(child)
            self._drop(child)
            raise lost
        return answer

    def _drop(self, child: Child) -> None:
        if self._judge is not None:
            # A judge that ends meanwhile has let the child go too; the next question to the judge says so.
            with contextlib.suppress(ChildLost):
                self._ask({"do": "drop", "pid": child.pid})

    def dismiss(self, child: Child) -> None:
        """Ends a runner."""
        self._workers.dismiss(child)
        self._drop(child)

    def seat(self, child: Child, request: dict[str, Any]) -> "Seat":
        """A finalist in a runner of its own: see `Seat`."""
        return Seat(self, child, request)


class SeatLost(Exception):
    """A finalist cannot be asked any more, and has not failed."""


class Seat:
    """A finalist: its runner, asked through the judge.

    It is asked as a child is: `channel.send(request)`, then `channel.receive(timeout)`. The first answer
    comes
    unasked: {"ok": true, "calls"} or {"ok": false, "error"}. Then {"calls", "turn_s"} is answered as
    by `quiet.turn`, and "verify" with {"ok"}.
    """

    def __init__(self, client: JudgeClient, child: Child, request: dict[str, Any]) -> None:
        self._client, self._child = client, child
        self._next: tuple[dict[str, Any], Child | None] | None = (
            {"do": "seat", "pid": child.pid, "kept": False, **request}, child,
        )  # fmt: skip
        self.channel = self

    def send(self, request: Any) -> None:
        """What is asked next."""
        if request == "verify":
            self._next = ({"do": "recheck", "pid": self._child.pid}, None)
        else:
            self._next = ({"do": "turn", "pid": self._child.pid, **request}, None)

    def receive(self, timeout: float = math.inf) -> Any:
        """The answer.

        Raises:
            TimeoutError: the runner took too long.
            ChannelGarbage: it answered what is no message.
            ChannelClosed: it ended.
            SeatLost: the judge did, or the machine failed; no fault of the finalist's.
        """
        assert self._next is not None, "a question comes first"
        (request, runner), self._next = self._next, None
        try:
            answer = self._client._ask(request, runner)
        except ChildLost as lost:
            raise SeatLost(str(lost)) from None
        if answer.get("machine"):
            raise SeatLost(str(answer.get("error")))
        if answer.get("garbled"):
            raise ChannelGarbage(str(answer.get("error")).removeprefix("unusable answer: "))
        if answer.get("lost"):
            raise TimeoutError if answer.get("timed_out") else ChannelClosed
        return answer

    @property
    def killed(self) -> bool:
        """Whether we ended it."""
        return self._child.killed

    def pause(self) -> None:
        """Stops all its threads where they are, those that spin included."""
        self._child.pause()

    def proceed(self) -> None:
        """Lets it go on after `pause`."""
        self._child.proceed()

    def kill(self) -> None:
        """Ends it."""
        self._child.kill()

    def wait(self) -> int:
        """The exit code, once; the judge lets it go."""
        code = self._child.wait()
        self._client._drop(self._child)
        return code
