"""One file per diagnosis; the file name is the code."""
