"""Readers of the services' configurations, as users write them.

Text in, frozen dataclasses out: the values are those that the daemon acts on, with its defaults, its
rounding and its refusals.  What it will do otherwise than the file seems to say is kept as remarks
with file and line.  Each reader is two files: one that splits the text, one that knows its meaning.
"""
