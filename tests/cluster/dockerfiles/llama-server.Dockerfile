# llama-server with the model inside. BASE has Debian's llama.cpp already, or any Debian sid to install it into.
ARG BASE=debian:sid-slim
FROM ${BASE}
RUN command -v llama-server || (apt-get update && apt-get install -y --no-install-recommends llama.cpp && rm -rf /var/lib/apt/lists/*)
COPY gemma-3-270m.gguf /model.gguf
USER 65532:65532
ENTRYPOINT ["llama-server", "--model", "/model.gguf"]
