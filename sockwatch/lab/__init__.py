"""Misbehaviours, provoked for real in a private network namespace: one file each."""
