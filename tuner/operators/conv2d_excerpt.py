"""A few windows of a convolution as a workload of their own, where to recompute the whole takes too long."""

import numpy as np

from tuner.core.excerpt import Excerpt, flat_indices
from tuner.core.operator import Operator, Tensors
from tuner.core.workload import Workload
from tuner.operators import quantized

# Output pixels and channels of an excerpt.
_WINDOWS, _CHANNELS = 8, 8
# What a window cut out of its image no longer has.
_PLACES = ("stride", "pad", "pad_top", "pad_left", "pad_bottom", "pad_right", "groups", "dilation")


def windows_of(operator: Operator, workload: Workload, rng: np.random.Generator) -> Excerpt:
    """Up to 8 random pixels of up to 8 channels of one group: as many images of one window each."""
    nhwc = workload.option("nhwc", False)
    stride, dilation, groups = (int(workload.option(name, 1)) for name in ("stride", "dilation", "groups"))
    n, c, h, w, k, r, s = (size for _, size in workload)
    sizes = operator.derived(workload)
    p, q, inner, outer = (sizes[name] for name in ("p", "q", "group_c", "group_k"))
    group = int(rng.integers(groups))
    channels = group * outer + np.sort(rng.permutation(outer)[:_CHANNELS])
    count = min(_WINDOWS, n * p * q)
    image, row, column = np.unravel_index(rng.choice(n * p * q, count, replace=False), (n, p, q))
    # Rows, columns and channels of each window in the image, padding included: [window, c, r, s].
    rows = (row[:, None] * stride - sizes["top"] + np.arange(r) * dilation)[:, None, :, None]
    columns = (column[:, None] * stride - sizes["left"] + np.arange(s) * dilation)[:, None, None, :]
    deep = (group * inner + np.arange(inner))[None, :, None, None]
    inside = (rows >= 0) & (rows < h) & (columns >= 0) & (columns < w) & (deep >= 0)
    rows, columns, images = rows.clip(0, h - 1), columns.clip(0, w - 1), image[:, None, None, None]
    axes = (images, rows, columns, deep) if nhwc else (images, deep, rows, columns)
    windows = np.ravel_multi_index(np.broadcast_arrays(*axes), (n, h, w, c) if nhwc else (n, c, h, w))
    pixels = (image[:, None], channels[None, :], row[:, None], column[:, None])
    if nhwc:
        pixels = (pixels[0], pixels[2], pixels[3], pixels[1])
    out = np.ravel_multi_index(np.broadcast_arrays(*pixels), (n, p, q, k) if nhwc else (n, k, p, q))
    every = slice(None)
    weights = flat_indices((k, r, s, inner) if nhwc else (k, inner, r, s), channels, every, every, every)
    found = {"X": np.unique(windows[inside]), "W": weights}
    if workload.option("bias", False):
        found["bias"] = channels
    if any(workload.option(name, False) for name in ("residual", quantized.RESIDUAL)):
        found["residual"] = out.reshape(-1)
    found |= quantized.places(workload, channels)
    options = {name: value for name, value in workload.options if name not in _PLACES}
    dims = {"n": count, "c": inner, "h": r, "w": s, "k": len(channels), "r": r, "s": s}
    part = operator.workload(workload.dtype, **dims, **options)

    def gather(whole: Tensors) -> Tensors:
        outside = quantized.zero_of(whole)
        x = np.where(inside, whole["X"].reshape(-1)[windows], outside).astype(whole["X"].dtype)
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if nhwc else x
        own = {name: whole[name].reshape(-1)[at] for name, at in found.items() if name != "X"}
        if "residual" in own:
            shape = (count, 1, 1, len(channels)) if nhwc else (count, len(channels), 1, 1)
            own["residual"] = own["residual"].reshape(shape)
        own["W"] = own["W"].reshape((len(channels), r, s, inner) if nhwc else (len(channels), inner, r, s))
        return {"X": x, **own}

    return Excerpt(part, gather, {"Y": out.reshape(-1)}, found)
