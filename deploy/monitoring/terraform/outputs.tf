output "dashboards" {
  description = "The dashboards' addresses by file."
  value       = { for name, dashboard in grafana_dashboard.tokenmark : name => "${var.grafana_url}/d/${jsondecode(dashboard.config_json).uid}" }
}

output "alerts" {
  description = "The alerts that Grafana evaluates."
  value       = [for rule in flatten([for group in local.rule_groups : group.rules]) : rule.alert]
}
