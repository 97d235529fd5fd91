"""Search against the size of a library.

``measuring`` measures, ``model`` says what is too large for that, ``plots`` draws.
"""
