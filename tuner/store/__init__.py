"""The database of trials: append-only, the source of truth. Start at `tuner.store.store.open_store`."""
