"""The steps by which the database came to be what ``jobs.models`` says."""

HEAD = "0005"
"""The last step, so that the usual start need not load Alembic to see that nothing is to be done."""

CODE = 1
"""The level of this code. A step that older code cannot work with raises ``agreement.least_code``."""
