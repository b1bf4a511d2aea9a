"""Several processes on one port: whose session it is, and how a request gets there."""
