"""Graphs and the command line: wiring, no image logic."""
