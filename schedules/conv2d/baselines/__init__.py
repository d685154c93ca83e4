"""Libraries people use for conv2d, one file each."""
