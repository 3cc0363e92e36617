# PFFNet's table IX, (b): masks are added to semantic features.
_base_ = '../pffnet_tiny_dsb2018.py'

model = dict(instance_semantic_head=dict(mode='summation'))
