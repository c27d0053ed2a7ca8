"""What the mixers are measured on: text and synthetic tasks."""
