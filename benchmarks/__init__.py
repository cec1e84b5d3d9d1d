"""Measured claims: accuracy now, throughput and memory as they come."""
