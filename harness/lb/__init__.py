"""A user's own balancers: from the files of their nodes, as they lie on disk, to a topology that drills them.

folder.py reads the files, settings.py what they cannot tell, estate.py what they mean, network.py who is
where, build.py makes nodes of it, plan.py says which drills apply.  Whatever had to be assumed is told.
"""
