"""What an event costs a client, this one and others: see `benchmarks/README.md`."""
