# Table II: uniform, k = 3, beta = 3.
_base_ = '../object_guided_neural_cell.py'

model = dict(point_head=dict(oversample=3, keep=3))
