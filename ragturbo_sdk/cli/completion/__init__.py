"""``ragturbo completion``: a script that completes the command line, for each shell, read off the parser."""
