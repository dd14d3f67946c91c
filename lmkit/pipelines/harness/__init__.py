"""For the lm-evaluation-harness: `harness.model.LmkitLM`, and its command with lmkit's models (`python -m`)."""
