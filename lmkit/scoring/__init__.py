"""Score text with models, for `lmkit eval`, training and embedding."""
