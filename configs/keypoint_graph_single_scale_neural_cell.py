# Keypoints on the finest scale alone: the paper's table 2, "single-scale dec".
_base_ = './keypoint_graph_neural_cell.py'

model = dict(bbox_head=dict(scales=(0,)))
