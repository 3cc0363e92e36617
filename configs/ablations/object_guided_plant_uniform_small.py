# Table II: uniform, few points, k = 1, beta = 1.
_base_ = '../object_guided_plant.py'

model = dict(point_head=dict(oversample=1, keep=1))
