"""What lies between a model's kernels, computed by small C++ programs on the kernels' own threads.

`program` says what one is, `found` which nodes are one; `elementwise`, `moves`, `pooling` and `rows` are the
kinds of them, `placing` spares a Concat its copies, `library` compiles and loads. Their C++ is in
`cuda_src/model`.
"""
