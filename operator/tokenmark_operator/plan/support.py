"""What the installation does not allow: fields that need the administrator's word (pure)."""

from __future__ import annotations

from tokenmark_schemas.kube import Execution

from ..settings import Settings


def forbidden(execution: Execution, settings: Settings) -> list[str]:
    """Fields that need the administrator's word."""
    out = []
    if execution.image and execution.image not in settings.allowed_images:
        out.append("spec.execution.image is not in the operator's allow-list (chart value allowedImages)")
    account = execution.service_account_name
    if account and account not in settings.allowed_service_accounts:
        out.append(
            "spec.execution.serviceAccountName is not in the operator's allow-list (chart value allowedServiceAccounts)"
        )
    return out
