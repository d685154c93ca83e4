"""`tuner model serve`: models behind the KServe v2 protocol, which NVIDIA Triton Inference Server speaks.

`protocol` reads requests and writes answers, `loading` makes a model's executors and proves that rows of a
batch do not touch each other. `waiting` holds what waits, `plan` says how much of it runs together,
`scheduler` runs it in turn, `handover` brings outcomes back, `statistics` counts. `application` answers each
address, `direct` the plain inferences, `connections` bounds what a client can hold, `server` runs it all.
"""
