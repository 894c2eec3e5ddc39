"""Machines of User-Mode Linux: a Linux kernel as an ordinary program, for nodes with a kernel of their own.

`command` says how one is started, `chassis` is what surrounds it on the host, `channel` is the line to
the agent inside (`agent.pl`).  See the kernel's Documentation/virt/uml/user_mode_linux_howto_v2.rst.
"""
