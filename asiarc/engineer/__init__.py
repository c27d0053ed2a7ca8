"""The engineer: admits a candidate (gates), isolates it (the wall), trains it and scores it."""
