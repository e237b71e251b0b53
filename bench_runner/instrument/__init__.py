"""One phase of load driven on this machine, what is told of it, and how it is stopped. May import: analysis and
below."""
