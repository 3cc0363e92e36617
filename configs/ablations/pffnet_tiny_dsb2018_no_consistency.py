# PFFNet's table XI, w/o: no consistency of the semantic tasks.
_base_ = '../pffnet_tiny_dsb2018.py'

model = dict(loss_consistency=None)
