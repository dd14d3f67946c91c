"""A plugin that fails when it is imported."""

raise RuntimeError("a library that this plugin needs is too old")
