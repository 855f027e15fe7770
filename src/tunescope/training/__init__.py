"""The loop, schedules, optimisers."""
