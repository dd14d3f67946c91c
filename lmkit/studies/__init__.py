"""Studies of any set of models: a function for each command with several runs, with its name and its options."""
