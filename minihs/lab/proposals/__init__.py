"""Other proposals as server code behind a switch, for experiments that compare them with futures.

A module for each. Nothing of it is in a server that was not asked for it; what a restart must not lose is
read from the server's own database.
"""
