# PFFNet's table XI, w/o: no consistency of the semantic tasks.
_base_ = '../pffnet_tnbc.py'

model = dict(loss_consistency=None)
