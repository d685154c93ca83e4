"""Tables and pictures of what the store holds. Start at `tuner.report.comparison.present`."""
