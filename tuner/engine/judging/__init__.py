"""Whether a candidate is right, and how long it takes.

The judge (`judge`, `judged_run`, `challenge`) has the references and the clock that counts; a `runner`
holds the candidate's code and does what the judge asks. Tensors travel as sealed memory (`sealed`,
`dataset`), `clocks` and `proofs` say what a claimed time is worth, `sampling` says when a candidate has been
timed enough, and `judge_client` is the lab's side of it all.
"""
