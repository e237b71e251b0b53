# Folder, data source and dashboards of a Grafana that exists. Run from a checkout: what it installs are the files of this tree.
locals {
  tree       = "${path.module}/../../.."
  dashboards = fileset("${local.tree}/grafana/dashboards", "*.json")
}

resource "grafana_folder" "tokenmark" {
  title = "Tokenmark"
  uid   = "tokenmark"
}

resource "grafana_data_source" "centre" {
  type                     = "prometheus"
  name                     = "Tokenmark centre"
  uid                      = "tokenmark-centre"
  url                      = var.prometheus_url
  basic_auth_enabled       = nonsensitive(var.prometheus_login != null)
  basic_auth_username      = try(var.prometheus_login.user, null)
  secure_json_data_encoded = var.prometheus_login == null ? null : jsonencode({ basicAuthPassword = var.prometheus_login.password })
  json_data_encoded        = jsonencode({ httpMethod = "POST", timeInterval = "30s" })
}

resource "grafana_dashboard" "tokenmark" {
  for_each    = local.dashboards
  folder      = grafana_folder.tokenmark.uid
  config_json = file("${local.tree}/grafana/dashboards/${each.value}")
  overwrite   = true
}
