"""Prediction on a user's own images."""
