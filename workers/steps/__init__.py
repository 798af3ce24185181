"""The lifecycle, step by step: admit, deploy, boot, run, finish.

Each step loads what it needs, works outside any transaction, and applies what came of it under a guard.
A step may die between any two lines: the next one who takes the lease looks, and goes on.
"""
