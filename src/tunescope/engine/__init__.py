"""Carries out a plan: one run, serially, or in local processes."""
