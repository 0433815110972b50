"""How methods are named and drawn."""
