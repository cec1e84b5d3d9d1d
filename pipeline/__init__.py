"""The command line and the wiring: flags, their check, the graphs, and a run's life from lease to summary.

No image logic and no work on rows: that is in `transforms`. The sample catalog's renderer is in `sample`.
"""
