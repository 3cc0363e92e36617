"""Detectors, heads and losses, registered into MMDetection."""
