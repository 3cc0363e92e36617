# Table II: slightly biased, k = 3, beta = 1.
_base_ = '../object_guided_plant.py'

model = dict(point_head=dict(oversample=3, keep=1))
