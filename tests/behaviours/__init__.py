"""Behaviours of the library with the JavaScript clients, over every transport and hosting."""
