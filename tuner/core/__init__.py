"""The lab's abstractions: standard library and NumPy only, so every other folder may import them."""
