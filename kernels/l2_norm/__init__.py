"""l2_norm"""
