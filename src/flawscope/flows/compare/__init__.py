"""Comparison: models on the same splits, cell by cell, and what can be concluded."""
