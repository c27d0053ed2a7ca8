"""The mathematics: a file per operator, ``from asiarc.kernels.NAME import NAME``; `operators` lists them."""
