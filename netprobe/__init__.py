"""The network probe's agents: a server that answers, a client that measures."""
