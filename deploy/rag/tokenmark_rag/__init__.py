"""The reference RAG backend: questions over a folder of texts, by a small embedding model, pgvector, and any OpenAI-compatible engine.

It is what engine `rag` is tested and shown against, and a pattern for a service's own steps and metrics. It downloads nothing.
"""
