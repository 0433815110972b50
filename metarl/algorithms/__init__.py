"""The methods, and the protocol that they keep."""
