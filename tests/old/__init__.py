"""What earlier code really wrote: for each schema a database as SQL, and what was printed of its jobs then.

The jobs are named after their states. `record.py` made them.
"""
