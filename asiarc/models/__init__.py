"""The backbone that every mixer is trained in, and the baselines (each a candidate file)."""
