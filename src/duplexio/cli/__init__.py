"""The `duplexio` command."""
