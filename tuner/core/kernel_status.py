"""What a kernel says of itself: the `int` that its C symbol returns."""

# Of the kernels in `cuda_src`; somebody else's may mean other things by the same numbers.
_OWN = {1: "no memory", 2: "an image too large for its offsets", 3: "no AMX tiles for this process"}


def status_error(status: int) -> str:
    """One line for a status other than 0."""
    own = f", which in the lab's own kernels means {_OWN[status]}" if status in _OWN else ""
    return f"the kernel returned error {status}{own}"
