"""Nearest neighbours of a query among the library's keys.

Every key is compared where there are few of them; where there are many, an index proposes candidates and the
stored keys rank them.
"""
