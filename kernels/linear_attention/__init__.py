"""linear_attention"""
