"""The report as pages: one self-contained `index.html` for a drill, a matrix for a suite, a comparison.

A page holds its data, styles, scripts and the plotting library (uPlot, 50 kB), so that it works from
disk, from a ticket's attachment and without a network; its content security policy forbids one.
"""
