"""Scores of predictions: metrics for MMEngine, results of any tool, comparisons of methods."""
