"""Targets as data: architectures that code can be compiled for on any machine; imports `tuner.core` only.

One file a kind of target; the registry finds its class (`TargetKind`). `gpu_model/` is the model that GPU
targets carry: occupancy, what an SM cannot hold, a predicted time.
"""
