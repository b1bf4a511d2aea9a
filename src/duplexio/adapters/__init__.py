"""Several servers as one: what they say to each other, and what carries it."""
