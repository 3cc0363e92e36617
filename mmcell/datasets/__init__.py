"""Data sets, loading and transforms."""
