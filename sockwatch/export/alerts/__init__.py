"""Findings followed over many looks: who is to be told of what, once."""
