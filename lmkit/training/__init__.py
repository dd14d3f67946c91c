"""Training: the loop, optimisers, schedules, and what a run writes."""
