"""Composes the leaves into tuning: from processes at the bottom to campaigns at the top.

Each folder may import those above it in this list: `processes`, `building`, `judging`,
`candidate`, `examine`, `tuning`, `recorded`, `program`. `tests/test_imports.py` keeps it so.
"""
