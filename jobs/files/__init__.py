"""Files of jobs: a folder on its way to a machine, and what comes back from one.

A *tree* is a list of entries and a list of *pieces*, the bytes of its files in runs of a few MiB. Pieces are
named by what they hold and kept in the artifact store; entries say where in them each file is. ``portable``
is what a machine and we do alike, and is sent there as it stands; ``tree`` is the list, ``store`` where it is
kept; ``workdir`` makes a tree of a folder, ``pull`` makes a folder of a tree.
"""
