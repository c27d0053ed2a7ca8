"""Gates: executed checks that admit or reject a candidate."""
