"""The cognition base: what the field knows, as entries that a weakness retrieves."""
