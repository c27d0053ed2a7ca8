"""Search policies behind one protocol; ``python -m tests.rigs policies`` compares them on equal footing."""
