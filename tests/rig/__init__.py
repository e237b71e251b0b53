"""The rig: the product and floors written in C against a server in C that logs when it really sent."""
