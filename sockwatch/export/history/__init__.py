"""What happened: counts and findings over time, kept in a file that is bounded and survives everything."""
