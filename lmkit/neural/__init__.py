"""Parts of models that gradients train, recurrent or not: base classes, output layers, weights, sizes."""
