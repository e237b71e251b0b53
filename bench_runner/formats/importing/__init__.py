"""Other tools' result files -> `run-result/v1`: one module a tool, each from one document to `Found`; `assemble` does the rest."""
