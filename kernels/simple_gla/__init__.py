"""simple_gla"""
