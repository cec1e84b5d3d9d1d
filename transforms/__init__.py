"""The method, one step a file: a pure function on the vocabulary of `types`, and the thin Beam shell around it."""
