"""gated_rms_norm"""
