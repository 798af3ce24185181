"""The steps by which the database came to be what ``jobs.models`` says."""

HEAD = "0001"
"""The last step, so that the usual start need not load Alembic to see that nothing is to be done."""
