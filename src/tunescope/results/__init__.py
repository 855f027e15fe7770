"""Metrics' declarations, the store (publish, claim, verify), the one table and its queries. No torch."""
