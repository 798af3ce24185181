"""The ground floor: what a job is, and where it is remembered. Internal; people use ``runner``."""
