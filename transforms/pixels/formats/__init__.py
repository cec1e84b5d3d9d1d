"""What must be known of each format beside Pillow: what a file is, how deep, in which colours, and whether it is whole.

One file a format, and what several share (docs/formats.md). decode.py puts them together.
"""
