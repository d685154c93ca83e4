"""Files of best configurations for other programs: each format in its own file, listed in `listed`.

A writer takes the rows and a path, and says which files it wrote. Where a format's file holds one kernel or
device and there are several, the path is a folder.
"""
