# PFFNet's table IX, (b): masks are added to semantic features.
_base_ = '../pffnet_cvppp.py'

model = dict(instance_semantic_head=dict(mode='summation'))
