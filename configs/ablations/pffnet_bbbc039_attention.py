# PFFNet's table IX, (c): mask probabilities weigh semantic features.
_base_ = '../pffnet_bbbc039.py'

model = dict(instance_semantic_head=dict(mode='attention'))
