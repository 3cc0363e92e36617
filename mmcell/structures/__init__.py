"""Data structures that keep masks in their boxes."""
