# PFFNet's table IX, (b): masks are added to semantic features.
_base_ = '../pffnet_tnbc.py'

model = dict(instance_semantic_head=dict(mode='summation'))
