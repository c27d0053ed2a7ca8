"""gated_delta_rule"""
