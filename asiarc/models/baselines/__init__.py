"""The baselines: published mixers, each a candidate file of its own."""
