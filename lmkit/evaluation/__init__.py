"""What models are asked: scores that can be compared."""
