"""The numpy world of ragturbo: bundles, retrieval and the chain of graphs, without torch.

Import the modules directly (``from ragturbo_runtime.bundle import Bundle``): this file imports nothing, so
that ``import ragturbo_sdk`` stays instant.
"""
