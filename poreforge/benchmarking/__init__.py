"""Parts of `poreforge.benchmark`: who takes part, on what, how labels are made, ranks, figures and pages."""
