variable "grafana_url" {
  description = "Where Grafana answers, as https://grafana.example."
  type        = string
}

variable "grafana_auth" {
  description = "A service account's token, or user:password. Give it as TF_VAR_grafana_auth, never in a file."
  type        = string
  sensitive   = true
}

variable "prometheus_url" {
  description = "The centre's Prometheus, as Grafana reaches it."
  type        = string
}

variable "prometheus_login" {
  description = "User and password for the centre's Prometheus, where it asks for them."
  type        = object({ user = string, password = string })
  default     = null
  sensitive   = true
}

variable "alerts" {
  description = "Whether Grafana evaluates the alert rules. False where a Prometheus with an Alertmanager already does."
  type        = bool
  default     = true
}
