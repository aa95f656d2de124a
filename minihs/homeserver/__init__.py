"""What the server does, without HTTP: rooms, accounts, futures, `/sync`, and other servers' rooms.

A package for each thing; those of many parts are put together in their `opening.py`.
"""
