"""A call whose arrays are bound, and the C function that it is, for who calls many of them in a row."""

from collections.abc import Callable
from dataclasses import dataclass

from tuner.engine.program.after_fork import call_parallel


@dataclass(frozen=True)
class BoundCall:
    """Call it, or have it called from C.

    Attributes:
        run: calls it on this thread.
        parallel: whether it begins OpenMP regions.
        function: address of a C function; 0: it is none. With `numbers` 0 it is `int f(void** addresses)`,
            which returns 0 for success, else `void f(const int64_t* numbers, void* const* addresses)`.
        addresses, numbers: addresses of its arguments, which live as long as this object.
        places: how many `addresses` there are.
        name: what it is, for messages; a program has none, since it cannot fail.
    """

    run: Callable[[], None]
    parallel: bool = False
    function: int = 0
    addresses: int = 0
    numbers: int = 0
    places: int = 0
    name: str = ""

    def __call__(self) -> None:
        """One call; on a thread whose team is there."""
        if self.parallel:
            call_parallel(self.run)
        else:
            self.run()
