"""vipdrill's engine: build a load-balancer testbed, break it, and measure what its clients see.

Data flows one way: topology, testbed, faults and observers, timeline, bounds, verdict, report.
This module imports nothing, because agents inside a node start from it and must start fast.
"""

__version__ = "0.1.0"
