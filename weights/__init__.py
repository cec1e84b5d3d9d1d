"""Weights: the table of U²-Net, which checkpoints are published, and how they are fetched, converted, checked and read.

What belongs here is about files and numbers. What runs a network is in model/. Imports nothing else of the project.
"""
