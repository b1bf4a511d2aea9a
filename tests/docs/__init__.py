"""The documentation: its examples run, its tables hold, its links lead somewhere."""
