"""Reports: what a drill's timeline and verdicts look like to a person, to a program, and to Wireshark.

Everything in here is pure: it needs the saved timeline and the judges' verdicts, no node and no root.
"""
