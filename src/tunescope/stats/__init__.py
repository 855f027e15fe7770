"""Tests, effect sizes, intervals, corrections, answers. The run is the unit of replication. No torch."""
