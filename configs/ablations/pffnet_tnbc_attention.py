# PFFNet's table IX, (c): mask probabilities weigh semantic features.
_base_ = '../pffnet_tnbc.py'

model = dict(instance_semantic_head=dict(mode='attention'))
