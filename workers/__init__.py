"""The middle floor: what makes jobs happen. Internal; people use ``runner``."""
