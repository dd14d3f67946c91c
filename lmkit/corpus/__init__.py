"""Read text, hold part of it out, and store it as token ids."""
