"""ONNX models: what of a graph the lab can tune, tuned layer by layer, and the whole of it run and compared.

`read_model` makes a `Graph` of a file and executes nothing. `find_layers` recognizes the workloads in it.
`tuning` tunes them, `executor` runs the whole graph, `comparison` sets it beside other runtimes. `serving/`
puts models behind a protocol, `load/` sends requests to them.
"""
