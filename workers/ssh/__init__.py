"""SSH to machines: our key, one connection per running job, the supervisor's verbs, the log as it is written.

paramiko does the protocol. What it lacks for connections that live for hours with nobody watching is in
``wire``; its many errors become the four of ``errors``, in one place.
"""
