"""The archive: what happened, in one SQLite file."""
