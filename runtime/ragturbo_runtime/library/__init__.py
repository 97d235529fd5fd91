"""The reference library: opening and searching it, adding to it, removing from it, checking it.

``opened`` reads, ``writer`` changes, ``layout`` says what is in the folder.
"""
