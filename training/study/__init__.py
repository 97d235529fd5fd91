"""A small study of single choices: what each of them does to how well references are read."""
