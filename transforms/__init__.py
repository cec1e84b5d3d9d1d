"""Rows and Beam: from a manifest's rows to a report's, as PTransforms and the plain functions in them.

What knows Beam's elements and stages belongs here. Functions on pixels are in `pixels`, bytes in and out in `storage`,
what a run leaves in its output folder and who may write there in `output`; none of them imports Beam.
"""
