"""Settings: read once from the environment by `main`; nobody else looks there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tokenmark_schemas.errors import InvalidInput


@dataclass(frozen=True)
class Settings:
    """`namespaces` empty means all. Durations in seconds."""

    runner_image: str
    netprobe_image: str
    quality_image: str = ""  # empty: no code is judged
    namespaces: tuple[str, ...] = ()
    cluster: str = ""
    provider: str = ""
    region: str = ""
    read_nodes: bool = True
    host_network: bool = False
    allowed_images: tuple[str, ...] = ()
    allowed_service_accounts: tuple[str, ...] = ()
    pull_policy: str = "IfNotPresent"
    listen_port: int = 8080
    newest_runs: int = 200
    target_wait_s: int = 600
    job_ttl_s: int = 3600
    resync_s: int = 60
    reconcilers: int = 8
    metrics_review: bool = False
    tls_folder: str = ""
    trigger_namespace: str = ""  # empty: there is no trigger
    trigger_folder: str = "/etc/tokenmark/trigger"  # token/token, template/run.yaml

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """TOKENMARK_* variables; raises InvalidInput naming the one that is wrong."""

        def text(name: str, default: str = "") -> str:
            return environ.get(f"TOKENMARK_{name}", default).strip()

        def number(name: str, default: int) -> int:
            value = text(name, str(default))
            if not value.isdigit():
                raise InvalidInput(f"TOKENMARK_{name}={value!r} is not a whole number")
            return int(value)

        def words(name: str) -> tuple[str, ...]:
            return tuple(word.strip() for word in text(name).split(",") if word.strip())

        for required in ("RUNNER_IMAGE", "NETPROBE_IMAGE"):
            if not text(required):
                raise InvalidInput(f"TOKENMARK_{required} is not set; it names the image that Jobs run")
        return cls(
            runner_image=text("RUNNER_IMAGE"),
            netprobe_image=text("NETPROBE_IMAGE"),
            quality_image=text("QUALITY_IMAGE"),
            namespaces=words("NAMESPACES"),
            cluster=text("CLUSTER"),
            provider=text("PROVIDER"),
            region=text("REGION"),
            read_nodes=text("READ_NODES", "true") == "true",
            host_network=text("HOST_NETWORK", "false") == "true",
            allowed_images=words("ALLOWED_IMAGES"),
            allowed_service_accounts=words("ALLOWED_SERVICE_ACCOUNTS"),
            pull_policy=text("PULL_POLICY", "IfNotPresent"),
            listen_port=number("LISTEN_PORT", 8080),
            newest_runs=number("NEWEST_RUNS", 200),
            target_wait_s=number("TARGET_WAIT_S", 600),
            job_ttl_s=number("JOB_TTL_S", 3600),
            resync_s=number("RESYNC_S", 60),
            reconcilers=number("RECONCILERS", 8),
            metrics_review=text("METRICS_REVIEW", "false") == "true",
            tls_folder=text("TLS_FOLDER"),
            trigger_namespace=text("TRIGGER_NAMESPACE"),
            trigger_folder=text("TRIGGER_FOLDER", "/etc/tokenmark/trigger"),
        )
