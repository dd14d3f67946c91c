"""The score of a text under a model: what `lmkit eval` prints, and what training and embedding need of it."""
