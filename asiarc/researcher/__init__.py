"""The researcher: proposes candidates."""
