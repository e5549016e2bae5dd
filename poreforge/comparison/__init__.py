"""The parts of `poreforge compare`: what goes in, the entries of its tables, its figures and its pages."""
