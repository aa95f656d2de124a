"""What is kept, in SQLite: the one writer with group commit, and a module of reads and rows for each noun.

The only package that knows SQL.
"""
