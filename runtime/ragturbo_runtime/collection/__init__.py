"""Collections of captioned pictures: a folder with a list, or webdataset shards.

``opening`` chooses the reader, ``entry`` says what one of them yields. What cannot be used is listed with its reason
and never stops the rest.
"""
