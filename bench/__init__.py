"""First figures of the product, each beside something that anybody can judge it by: `make bench`.

Everything runs on this computer, against the simulated cloud, in processes of its own and in temporary
folders. Only public doors are used: the Python API, the command line, and the simulator as a library; where
hundreds of jobs are looked at several times a second, the database is asked by a query of the bench's own.
"""
