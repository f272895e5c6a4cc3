"""The ground floor: types, errors, registry, settings, digests. Standard library and numpy only."""
