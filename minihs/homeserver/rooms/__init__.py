"""Rooms as the server holds them: one service through which every event goes, and its parts."""
