# PFFNet's table IX, (a): masks replace semantic features.
_base_ = '../pffnet_cvppp.py'

model = dict(instance_semantic_head=dict(mode='replacement'))
