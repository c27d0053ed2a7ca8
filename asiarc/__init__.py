"""asiarc: pytest for architecture discovery."""
