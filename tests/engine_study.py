"""A demo in small, for the tests of engine and command line."""

# A demo in small: the same model, data and code paths, seconds instead of minutes.
STUDY = """
study: small
model: emoji-clip
task:
  data: emoji/openmoji
  label: group
  split: {train: 0.1, val: 0.05, probe: 0.05, test: 0.8}
transfer: {shifts: [emoji/openmoji-line]}
train: {epochs: 1, batch_size: 32}
probes: [attention]
runs:
  full: {adapt: full, lr: [1e-4, 1e-3]}
  lora: {adapt: {kind: lora, rank: 2}, lr: 1e-3}
  probe: {adapt: linear_probe, lr: 1e-2}
questions:
  - {ask: Which changes more, metric: attention.entropy.change, reduce: mean_abs, compare: [full, lora]}
"""
