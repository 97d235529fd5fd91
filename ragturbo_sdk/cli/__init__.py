"""The command ``ragturbo``: what its words mean, what each command does, and how it is said.

Nothing in here is for a host; ``main`` is where the command begins.
"""
