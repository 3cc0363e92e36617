"""napari plugin: opens mmcell's files, and runs a model on a layer.

``napari.yaml`` tells napari what there is. Only :mod:`mmcell.napari.widget` imports napari.
"""
