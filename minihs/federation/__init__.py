"""To and from other servers: whom to ask and how, who is speaking, what is queued, what comes in.

Knows events and the pure rules; rooms as the server holds them stand behind `receiver`. Source:
Server-Server API.
"""
