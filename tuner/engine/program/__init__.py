"""Tuned kernels in somebody's own program.

`load` compiles what the store knows to be best, once (`build_cache`). A `TunedKernel` is a function of
arrays, checked where they come in (`arrays`), usable from threads and after a fork (`after_fork`).
"""
