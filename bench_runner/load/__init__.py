"""Load: when to send (pacers), sending and stamping (worker), and the parent's side of it (drive).

The worker is a forked process that only moves bytes and stamps; the parent decodes. They meet in `frames`. May import:
the contracts; it knows no engine and no JSON.
"""
