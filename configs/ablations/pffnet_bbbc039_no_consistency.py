# PFFNet's table XI, w/o: no consistency of the semantic tasks.
_base_ = '../pffnet_bbbc039.py'

model = dict(loss_consistency=None)
