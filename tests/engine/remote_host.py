"""A host of the tests' remote evaluator: a process of its own, with a folder of its own, behind a socket.

It is told bundles and requests for datasets, never a path or an object of the driver's.
"""

import base64
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tuner.core.workload import Workload
from tuner.devices.cpu.device import CpuDevice
from tuner.engine.building.bundle import unpack
from tuner.engine.judging.dataset import Dataset, DatasetRequest, remake
from tuner.engine.processes.channel import Channel, ChannelClosed


class Host:
    """Runs one candidate after the other in this process; answers when it is told to, the last one first."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name, self._folder = name, folder
        (self._device,) = CpuDevice.discover()
        self._device.prepare(1)
        self._data: dict[str, Dataset] = {}
        self._answers: list[dict[str, Any]] = []
        self._unpacked = 0

    def serve(self, channel: Channel) -> None:
        """Until the driver is gone."""
        while True:
            message = channel.receive()
            if message["do"] == "dataset":
                wanted = DatasetRequest.from_dict(message["dataset"])
                self._data[wanted.workload] = remake(wanted)
            elif message["do"] == "run":
                self._answers.append(self._run(message))
            else:
                for answer in reversed(self._answers):
                    channel.send(answer)
                channel.send({"end": True})
                self._answers.clear()

    def _run(self, message: dict[str, Any]) -> dict[str, Any]:
        self._unpacked += 1
        folder = self._folder / str(self._unpacked)
        built = unpack(base64.b64decode(message["bundle"]), folder, message["name"])
        assert built.artifact is not None
        pairs = [(Workload.from_key(message["workload"]), built.artifact), *built.companions]
        samples, wrong = [], ""
        for workload, artifact in pairs:
            data = self._data[workload.key]
            executable = self._device.load(artifact)
            outputs = {name: np.zeros(x.shape, "float32") for name, x in data.reference.items()}
            executable.bind({**data.inputs, **outputs})
            samples.append(executable.sample(1))
            for name, expected in data.reference.items():
                if not (np.abs(executable.read(name) - expected) <= data.tolerance[name]).all():
                    wrong = f"{name} is wrong on {workload.key}"
        chain = built.artifact.toolchain
        digest = built.artifact.digest
        built.discard()
        return {
            "ticket": message["ticket"], "samples": samples[:1], "error": wrong, "artifact": digest,
            "host": self._name, "fingerprint": f"{self._device.fingerprint}-{self._name}",
            "toolchain": [chain.name, chain.version, list(chain.flags)],
        }  # fmt: skip


if __name__ == "__main__":
    try:
        Host(sys.argv[1], Path(sys.argv[2])).serve(Channel(socket.socket(fileno=int(sys.argv[3]))))
    except ChannelClosed:
        pass
