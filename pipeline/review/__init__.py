"""The review sheet: a static page for looking at the worst masks of a catalog, and deciding what becomes of them."""
