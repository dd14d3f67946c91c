"""One kernel for a whole window of a gated cell on a GPU, by Triton, from the traced step.

`follow` takes a trace apart into `tiles`, by the `codes` of its elements and the `operations` that it knows; `source`
writes the kernels by `writer`; `kernel` loads and launches them; `run` makes them a node of the autograd graph; `trial`
compares them with the cell before they are used.
"""
