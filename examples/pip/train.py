"""Uses a package that pip has installed on the machine."""

from tabulate import tabulate

print(tabulate([("epoch", 1), ("loss", 0.5)], tablefmt="plain"))
