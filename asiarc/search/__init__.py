"""Search policies behind one protocol, and the replay bench that compares them: ``python -m asiarc.search``."""
