"""The seams to the outside: clock, entropy, workers and network.

Nothing else reads the machine's time or throws its dice.
"""
