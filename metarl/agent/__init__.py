"""Trained policies in use: load one, let it act on a task and adapt to it, save it there."""
