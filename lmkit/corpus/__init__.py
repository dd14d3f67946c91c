"""Text in: reading it, holding some of it out, and keeping it as token ids."""
