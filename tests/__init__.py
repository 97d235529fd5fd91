"""Ours: torch-fidelity installs a package of the same name, and Python takes a package before a plain folder."""
