# Table II: mildly biased, k = 3, beta = 2.
_base_ = '../object_guided_dsb2018.py'

model = dict(point_head=dict(oversample=3, keep=2))
