"""ONNX models: what of a graph the lab can tune, tuned layer by layer, and the whole of it run and compared.

`read_model` makes a `Graph` of a file and executes nothing. `find_layers` recognizes the workloads in it.
"""
