# At one scale of images, twice adamw_tiny.py's learning rate learns more in the same time.
_base_ = './adamw_tiny.py'

optim_wrapper = dict(optimizer=dict(lr=8e-4))
