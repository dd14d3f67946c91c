"""Questions to any set of models: a function for each command that asks several, with its name and its options."""
