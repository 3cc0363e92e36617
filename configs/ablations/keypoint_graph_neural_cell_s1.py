# Masks from the finest scale of the decoder: the paper's table 1, "seg s1".
_base_ = '../keypoint_graph_neural_cell.py'

model = dict(segment_from='s1', mask_head=dict(in_channels=[64]))
