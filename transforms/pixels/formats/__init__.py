"""What must be known of each picture format beside Pillow: what a file is, how deep, in which colours, and if it is whole.

One file a format, and what several share (docs/formats.md). decode.py puts them together.
"""
