"""delta_rule"""
