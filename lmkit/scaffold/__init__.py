"""Write the files of a new plugin: a distribution with one part, which installs and passes the checks as it is."""

PARTS = ("cell", "tokenizer", "model", "decoder", "encoder")
"""The kinds of parts that have templates."""
