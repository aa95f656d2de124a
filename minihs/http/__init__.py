"""The HTTP APIs: routing, access, limits and errors, and a module for each chapter of the specification.

Requests become calls of `homeserver`, results become replies; nothing is decided here.
"""
