# A server that speaks S3, over a folder of the pod. Buckets are folders of it.
ARG BASE=debian:trixie-slim
FROM ${BASE}
COPY versitygw /usr/local/bin/versitygw
USER 65532:65532
ENTRYPOINT ["sh", "-c", "mkdir -p /tmp/s3/bench && exec versitygw \"$@\" posix /tmp/s3", "versitygw"]
