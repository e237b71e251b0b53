"""The load generator and all that reads its results: one folder a room, imports only down the list in
docs/architecture.md."""
