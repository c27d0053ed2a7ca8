"""delta_product"""
