"""Thin, typed doors to the Linux system calls that Python 3.10 does not offer."""
