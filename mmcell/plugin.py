"""Importing this module registers every mmcell component into MMDetection's registries.

Configs switch it on with ``custom_imports = dict(imports=['mmcell.plugin'])``.
"""
