"""Models that adapt to the text they read: a continuous cache, and dynamic evaluation."""
