"""From a manifest's rows to a report's: Beam's stages, and what happens to a row or a photo in them.

Functions on pixels are in `pixels`, bytes in and out in `storage`, what a run leaves in its output folder and who may
write there in `output`; none of them imports Beam. What is built of the stages is in `pipeline`.
"""
