"""Heads of the keypoint family, and the segmentation of boxes that they share."""
