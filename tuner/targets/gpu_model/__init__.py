"""What a GPU would do with a kernel, computed from its resources: the model that CUDA targets carry.

`occupancy` counts the blocks that an SM holds and says what limits them. `analytic` predicts a time from
that, to rank candidates on a machine without the GPU; it is never reported as measured. `model` puts both
into the form that `Target.model` has.
"""
