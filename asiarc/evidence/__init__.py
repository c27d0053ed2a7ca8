"""The statistics: paired effects, multiplicity, transfer between stages."""
