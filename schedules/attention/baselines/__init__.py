"""Libraries people use for attention, one file each."""
