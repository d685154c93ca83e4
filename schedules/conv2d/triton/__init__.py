"""conv2d in Triton."""
