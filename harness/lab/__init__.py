"""The live lab: a testbed that stays up, and what can be done with it from any terminal.

    vipdrill up ──starts──▶ holder: a bubble of its own with the testbed, the recorder, a server
    vipdrill exec, fault, watch, down, …  ──Unix socket──▶ server

registry.py   which labs there are, and how a dead one is told from a living one
channel.py    the protocol: lines of JSON, with descriptors beside them
server.py     the holder's side of it, served from the recorder's waits
live.py       what a lab does: faults, commands in nodes, its end
holder.py     the process that holds a lab
client.py     the commands' side
"""
