"""Futures as the server holds them: commands, the timer, and the sends they lead to."""
