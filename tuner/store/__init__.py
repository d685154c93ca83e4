"""The database of trials: append-only, the source of truth. Start at `tuner.store.store.open_store`.

`models` and `campaign_models` are the tables, `migrations/` how they came to be, `opening` how a database
is opened. `writes` puts rows in and `queries`, `best` and `learning` take them out, as the records of
`records` and `campaign_records`. `owners` says which process runs what, `claims` which measurement is
whose, `checked` what may be believed of a stored value.
"""
