"""Futures as a pure state machine: model, commands, effects, engine and policies.

No I/O, no clock and no Twisted: `now` is an argument. Source: the futures specification, section 1.
"""
