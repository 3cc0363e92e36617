"""Semantic heads and semantic-instance fusion."""
