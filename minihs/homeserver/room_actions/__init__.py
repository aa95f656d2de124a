"""What users do with rooms: create, join, send, publish, look."""
