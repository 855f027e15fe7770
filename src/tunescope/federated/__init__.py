"""Tuning where the data may not move: who holds what, and how what is sent is put together."""
