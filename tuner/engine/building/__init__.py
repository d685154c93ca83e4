"""From a configuration to an artifact.

`build_process` lowers and builds in a disposable child, `build_stage` keeps several such children busy
beside nothing that is measured. `answers` checks what any child says, where it arrives.
"""
