"""The command line and the wiring: flags, their check, the graphs, and a run's life from lease to summary.

What happens to a row or a photo is in `transforms`. The sample catalog's renderer is in `sample`.
"""
