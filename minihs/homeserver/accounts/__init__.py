"""Accounts: users, their devices and sessions, and the data they keep here."""
