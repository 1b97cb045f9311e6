"""Generated submissions, with every variation and every failure case."""
