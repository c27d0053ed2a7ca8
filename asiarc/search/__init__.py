"""Search policies behind one protocol; each is compared with the others on known truth, at equal compute."""
