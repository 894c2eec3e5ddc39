"""Node images: the root filesystem that every node runs on, so that the host needs no daemon.

`spec` says what an image holds (`kernel`: that of a kernel for nodes that have their own), `store`
keeps the finished ones, `mmdebstrap` makes one, inside the `cell` (namespaces that die with their
parent) with the ids that `ids` finds for this user.
"""
