"""What weights exist, where they come from, and how they are checked. Imports nothing else of the project."""
