# Cell R-CNN V2's table 3, Ab1: baseline + feature fusion.
_base_ = './cell_rcnn_v2_kumar_fusion_semantic.py'

model = dict(semantic_head=None)
