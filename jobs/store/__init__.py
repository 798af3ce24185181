"""The store: the one place where the database is read and written.

``database`` opens it, ``schema`` creates and migrates it; the other modules hold the queries, one
subject each. Nothing above this package writes SQL, and no transaction here is ever open across the
network: callers load, work, and apply what came of it under a guard.
"""
