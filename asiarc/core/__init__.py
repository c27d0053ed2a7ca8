"""The words of the whole house: errors, seeds, outcomes, candidates, genomes, proposals, recipes. Imports no room."""
