"""Attention in Triton.

`forward` is for many queries, `decode` for few over many keys, which are split; both stand on `kernel`. The
jitted functions are `forward_program` and `decode_program`, imported by Triton alone, and share `tile`.
"""
