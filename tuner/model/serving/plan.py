"""Which prepared batch to run when so many rows wait: the one after which all have waited least."""

from collections.abc import Mapping


def least_waiting(times_s: Mapping[int, float]) -> list[int]:
    """The prepared batch to run first, by how many rows wait.

    While a batch runs, all rows wait that are not answered yet, so that `n` rows wait for
    W(n) = min over b of n * t(b) + W(n - b) in all. The minimum is right for both kinds of model: where a
    batch of two takes twice as long as one (a convolutional network on few cores), the first row need not
    wait for the second, and a batch that is padded makes all wait for nothing; where it takes hardly longer,
    rows go together. As many as the largest batch holds always run in it: that is the highest rate, and what
    is behind them waits least so.

    Args:
        times_s: seconds of a run of each prepared batch, 1 among them; 0: not known.

    Returns:
        For 0, 1, ... rows, up to the largest batch. Where a time is not known, the smallest batch that holds
        the rows.
    """
    sizes = sorted(times_s)
    holding = [0] + [next(size for size in sizes if size >= rows) for rows in range(1, sizes[-1] + 1)]
    if not all(times_s.values()):
        return holding
    first, waited = [0], [0.0]
    for rows in range(1, sizes[-1] + 1):
        sums = [rows * times_s[size] + waited[max(0, rows - size)] for size in sizes]
        waited.append(min(sums))
        first.append(sizes[sums.index(waited[-1])])
    first[-1] = sizes[-1]
    return first
