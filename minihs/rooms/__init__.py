"""What the specification says about rooms: who may do what, which state holds, who may see it.

Pure: no I/O, no clock, no Twisted. `auth` judges one event against a state, `resolution` makes one state of
several, `receipt` orders the checks on what other servers send, `visibility` guards history, `dag` walks
the graph.
"""
