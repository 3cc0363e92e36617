"""Pure torch/numpy building blocks; nothing here imports mmdet."""
