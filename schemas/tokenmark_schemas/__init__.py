"""The contracts all parts of Tokenmark share: models, errors, and the text forms that carry them.

Nothing here opens a socket or a cluster. Operator, runner and probe never import each other; they meet in these types.
"""
