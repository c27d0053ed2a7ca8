"""The analyst: explains a candidate against its parent, its siblings and the baselines."""
