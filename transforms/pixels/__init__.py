"""The method: pure functions on arrays and bytes, from a photo's file to its picture and the statistics of its mask.

Nothing here reads or writes a file, knows a manifest row or a clock, or imports Beam. The network itself is in `model`.
"""
