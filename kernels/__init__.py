"""The mathematics: one folder per operator, imported as ``asiarc.kernels.<operator>``."""
