"""What has happened in rooms, as one user may see it."""
