"""What search in a large library costs: one is made by chance, and searched in a process of its own.

``clustered`` makes keys, ``making`` a library of them, ``searching`` is the process, ``measuring`` all of it.
"""
