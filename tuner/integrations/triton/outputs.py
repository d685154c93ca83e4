"""Whether configurations agree on what they leave in the tensors of a call.

An output buffer is reused by every configuration that is tried, so one that writes nothing, or only a part,
finds the right values of the one before it there. Here each begins with the same tensors, what a kernel
writes without reading it being poisoned with NaN, and what is there after it is compared.

Which tensors are written is found out by running the first configuration three times: as the call is, with
its floating-point tensors changed, and with those it writes poisoned. Tensors of integers are never changed:
they may be indices, or locks that a kernel waits for.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

TOLERANCES = {"float64": 1e-9, "float32": 1e-3, "float16": 1e-2, "bfloat16": 5e-2}
"""By dtype: of the element and of the tensor's root mean square together; other floating types 0.25."""
_COARSE = 0.25
# Elements compared at a time: wider copies of whole tensors may not fit beside them.
_CHUNK = 2**24
# What they held before, what the first run and this one leave, the right answer, and masks.
_COPIES = 5


Attempt = Callable[[], AbstractContextManager[None]]
"""Runs a configuration once when entered; hooks that follow a run, which may restore outputs, when left."""


class Unchecked(Exception):
    """The tensors of a call cannot be compared; says why."""


def tensors_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The torch tensors among the arguments of a call, those inside descriptors too, by name.

    One that covers itself (a stride of 0) cannot be restored, and no kernel can write it sensibly: left out.
    """
    import torch

    found: dict[str, Any] = {}
    for name, value in arguments.items():
        inner = getattr(value, "base", value)
        if not isinstance(inner, torch.Tensor) or inner.layout is not torch.strided or not inner.numel():
            continue
        if all(stride or size <= 1 for size, stride in zip(inner.shape, inner.stride(), strict=True)):
            # Not `detach`: what is restored is as it was, and autograd need not hear of it.
            found[name] = inner.data
    return found


@dataclass
class Agreement:
    """What configurations left behind that agree: the tensors they wrote, and which ones they were."""

    written: Mapping[str, Any]
    members: list[int] = field(default_factory=list)


class Outputs:
    """The tensors of one call and what configurations make of them.

    Args:
        arguments: of the call, by name.
        tolerance: in place of `TOLERANCES`, for all floating types.

    Raises:
        Unchecked: there are none, or there is no memory for the copies.
    """

    def __init__(self, arguments: Mapping[str, Any], tolerance: float | None = None) -> None:
        try:
            self._tensors = tensors_of(arguments)
        except ImportError:
            raise Unchecked("torch is not installed") from None
        if not self._tensors:
            raise Unchecked("no argument is a tensor of torch")
        _require_memory(self._tensors)
        self._tolerance = tolerance
        self._before = {name: tensor.clone() for name, tensor in self._tensors.items()}
        self._masks: dict[str, Any] | None = None
        self.answers: list[Agreement] = []

    def restore(self) -> None:
        """Puts back what the tensors held before tuning."""
        for name, tensor in self._tensors.items():
            tensor.copy_(self._before[name])

    def judge(self, number: int, attempt: Attempt) -> None:
        """Runs a configuration on the tensors as they were, and notes with which others it agrees.

        Args:
            number: of the configuration.
            attempt: what runs it; what that raises passes through.
        """
        if self._masks is None:
            self._masks = self._probe(attempt)
        self._poison(self._masks)
        written = self._run(attempt)
        for answer in self.answers:
            if self.difference(written, answer.written) is None:
                answer.members.append(number)
                return
        self.answers.append(Agreement(written, [number]))

    def wrong(self, trusted: Sequence[int] = ()) -> dict[int, str]:
        """Of each configuration that disagrees with the right answer: how, one line.

        Right is the answer of a trusted configuration; else that of most; of equally many one that
        writes anything at all, then that of the first.
        """
        if not self.answers:
            return {}
        right = max(
            self.answers,
            key=lambda a: (bool(set(a.members) & set(trusted)), len(a.members), bool(a.written)),
        )
        found = {}
        for answer in self.answers:
            if answer is not right:
                where = self.difference(answer.written, right.written) or "its outputs differ"
                for number in answer.members:
                    found[number] = f"{where}; {len(right.members)} of the others agree on what is right"
        return found

    def difference(self, written: Mapping[str, Any], right: Mapping[str, Any]) -> str | None:
        """How two answers differ: `C[3, 7] is 1.2, not 3.4; 120 of 4096 elements differ`; or `None`."""
        for name in self._tensors:
            if name in written or name in right:
                before = self._before[name]
                line = _difference(name, written.get(name, before), right.get(name, before), self._tolerance)
                if line is not None:
                    return line
        return None

    def _run(self, attempt: Attempt) -> dict[str, Any]:
        """What a run left in the tensors that it changed, or is known to write."""
        masks = self._masks or {}
        with attempt():
            return {
                name: tensor.clone() for name, tensor in self._tensors.items()
                if name in masks or not _equal(tensor, self._before[name])
            }  # fmt: skip

    def _probe(self, attempt: Attempt) -> dict[str, Any]:
        """Of each tensor that a configuration writes: where its result does not depend on what was there."""
        self.restore()
        first = self._run(attempt)
        # A reused buffer may hold the right result already: with other inputs it is seen to be written.
        self.restore()
        changed = {}
        for name, tensor in self._tensors.items():
            if name not in first and _poisonable(tensor):
                tensor.mul_(0.75).add_(0.125)
                changed[name] = tensor.clone()
        written = set(first)
        if changed:
            with attempt():
                written |= {n for n, was in changed.items() if not _equal(self._tensors[n], was)}
        self.restore()
        for name in written:
            if _poisonable(self._tensors[name]):
                self._tensors[name].fill_(float("nan"))
        masks: dict[str, Any] = {}
        with attempt():
            for name in written:
                tensor, reference = self._tensors[name], first.get(name, self._before[name])
                masks[name] = None
                if _poisonable(tensor):
                    masks[name] = _close(tensor, reference, self._tolerance) & ~tensor.isnan()
        return masks

    def _poison(self, masks: Mapping[str, Any]) -> None:
        self.restore()
        for name, mask in masks.items():
            if mask is not None:
                self._tensors[name].masked_fill_(mask, float("nan"))


def _poisonable(tensor: Any) -> bool:
    """Whether a tensor may be changed to see what comes of it; torch computes with few types of 8 bits."""
    return bool(tensor.is_floating_point()) and tensor.element_size() > 1


def _equal(left: Any, right: Any) -> bool:
    """Whether two tensors are the same, a NaN being equal to a NaN."""
    import torch

    if left.is_floating_point():
        if left.element_size() == 1:
            return torch.equal(left.view(torch.uint8), right.view(torch.uint8))
        return bool(((left == right) | (left.isnan() & right.isnan())).all())
    return torch.equal(left, right)


def _close(left: Any, right: Any, tolerance: float | None) -> Any:
    """bool, of the tensors' shape: equal within the tolerance; where both are NaN they are."""
    import torch

    if not (left.is_floating_point() or left.is_complex()):
        return left == right
    wide = torch.complex128 if left.is_complex() else torch.float64
    if left.dtype in (torch.float16, torch.bfloat16, torch.float32) or left.element_size() == 1:
        wide = torch.float32
    share = TOLERANCES.get(str(left.dtype).rpartition(".")[2], _COARSE) if tolerance is None else tolerance
    ours, right_ones = left.reshape(-1), right.reshape(-1)
    scale = _root_mean_square(right_ones, wide)
    near = torch.empty(ours.shape, dtype=torch.bool, device=ours.device)
    for start in range(0, ours.numel(), _CHUNK):
        part = slice(start, start + _CHUNK)
        a, b = ours[part].to(wide), right_ones[part].to(wide)
        near[part] = ((a - b).abs() <= share * (b.abs() + scale)) | (a == b) | (a.isnan() & b.isnan())
    return near.reshape(left.shape)


def _root_mean_square(flat: Any, wide: Any) -> float:
    """Of the finite elements. Summed in float64: squares of large float32 numbers are infinite."""
    import torch

    total, count = 0.0, 0
    for start in range(0, flat.numel(), _CHUNK):
        values = flat[start : start + _CHUNK].to(wide).abs()
        finite = values[values.isfinite()]
        total += float(torch.linalg.vector_norm(finite, dtype=torch.float64)) ** 2
        count += finite.numel()
    return float((total / max(1, count)) ** 0.5)


def _difference(name: str, left: Any, right: Any, tolerance: float | None) -> str | None:
    close = _close(left, right, tolerance)
    if bool(close.all()):
        return None
    bad = (~close).nonzero()
    place = tuple(int(i) for i in bad[0])
    at = ", ".join(map(str, place))
    return (
        f"{name}[{at}] is {left[place].item():.9g}, not {right[place].item():.9g}; "
        f"{len(bad)} of {left.numel()} elements differ"
    )


def _require_memory(tensors: Mapping[str, Any]) -> None:
    import torch

    device = next(iter(tensors.values())).device
    if device.type != "cuda":
        return
    whole = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    needed = _COPIES * whole + 32 * _CHUNK
    free = int(torch.cuda.mem_get_info(device)[0])
    if needed > free:
        raise Unchecked(f"comparing needs {needed >> 20} MiB beside the call, {free >> 20} are free")
