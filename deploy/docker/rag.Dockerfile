# tokenmark-rag: the reference RAG backend with its embedding model, its own PostgreSQL with pgvector, and this project's docs as texts.
ARG BASE=python:3.13-slim-trixie
FROM ${BASE} AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_DEFAULT_TIMEOUT=60
WORKDIR /src
COPY deploy/locks/rag.lock deploy/locks/
RUN python3 -m venv /build && python3 -m venv --without-pip /opt/rag \
 && /build/bin/pip --python /opt/rag/bin/python install --no-cache-dir --require-hashes --only-binary :all: -r deploy/locks/rag.lock
COPY deploy/rag/tokenmark_rag /src/tokenmark_rag
RUN cp -r /src/tokenmark_rag /opt/rag/lib/python3*/site-packages/ && /opt/rag/bin/python -m compileall -q /opt/rag/lib

FROM ${BASE}
COPY --from=build /opt/rag /opt/rag
COPY docs/*.md /documents/
# PostgreSQL asks who it runs as, and takes no root
RUN echo 'rag:x:65532:65532::/tmp:/usr/sbin/nologin' >> /etc/passwd
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp RAG_DATA=/tmp/rag
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT ["/opt/rag/bin/python", "-I", "-m", "tokenmark_rag"]
