"""Drop-ins for what other tools' users have in their programs already.

Each folder is about one tool: `triton/` stands in for `@triton.autotune`. A drop-in takes the tool's own
arguments, stores what it measures, and asks the store before it measures. Without a store it does what the
tool does.
"""
