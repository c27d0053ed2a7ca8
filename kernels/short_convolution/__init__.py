"""short_convolution"""
