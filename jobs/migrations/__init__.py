"""The steps by which the database came to be what ``jobs.models`` says."""

HEAD = "0009"
"""The last step, so that the usual start need not load Alembic to see that nothing is to be done."""

CODE = 3
"""The level of this code. A step that older code cannot work with raises ``agreement.least_code``."""

PRIVATE_CODE = 2
"""The level from which code knows secrets and files. The first job that has some raises ``least_code`` to it,
and no migration does: old and new workers stand side by side until then, and no old one starts such a job."""

MONEY_CODE = 3
"""The same for budgets, for a ceiling of the price and for how long a command has to end."""
