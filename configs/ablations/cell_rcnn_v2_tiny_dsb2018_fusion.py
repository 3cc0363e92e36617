# As Cell R-CNN V2's table 3, Ab1: feature fusion alone.
_base_ = './cell_rcnn_v2_tiny_dsb2018_fusion_semantic.py'

model = dict(semantic_head=None)
