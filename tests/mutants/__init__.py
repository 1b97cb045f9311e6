"""Mutation testing (``scripts/mutants``): finds changes of the code that no test notices."""
