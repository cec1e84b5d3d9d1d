"""An output folder: names of pictures, the store of maps, the report and its commit, and who may write there.

What a run leaves behind and later runs read belongs here. It stands on `storage`; it knows no Beam and makes no pixels.
"""
