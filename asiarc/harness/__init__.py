"""The doors: the pytest plugin with its items and session, the ``asiarc`` command, and ``reproduce``."""
