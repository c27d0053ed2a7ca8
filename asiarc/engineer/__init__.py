"""The engineer: admits a candidate (gates), isolates it (the sandbox), trains it and scores it."""
