"""Events and what they are made of: pure, and below everything else. Read `event` first, then `versions`.

No rooms, no state, no rights (those are `minihs.rooms`); no I/O, no clock, no Twisted.
"""
