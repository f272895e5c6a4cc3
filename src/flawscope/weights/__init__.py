"""The weights that ship inside the package, each beside its card."""
