"""A service of a repository that has several; it needs the data of all."""

from pathlib import Path

numbers = Path(__file__).parents[2] / "data" / "numbers.txt"
print("sum", sum(map(int, numbers.read_text().split())))
