"""RoI heads, mask heads and the mask quality head."""
