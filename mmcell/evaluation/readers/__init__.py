"""Results of any tool as label maps: one file per family of formats. Neither torch nor MMDetection.

A reader takes the image's size, which formats that store it ignore, and returns
:class:`~mmcell.evaluation.readers.instances.Instances`.
"""
