# The rules that the chart gives to Prometheus, as Grafana's own: one source, so that they cannot drift. A Prometheus rule fires
# for every series that its expression returns, whatever the value, 0 included: hence the middle step.
locals {
  rule_files  = var.alerts ? fileset("${local.tree}/deploy/helm/tokenmark/rules", "*.yaml") : []
  rule_groups = flatten([for name in local.rule_files : yamldecode(file("${local.tree}/deploy/helm/tokenmark/rules/${name}")).groups])
}

resource "grafana_rule_group" "tokenmark" {
  for_each         = { for group in local.rule_groups : group.name => group }
  name             = each.key
  folder_uid       = grafana_folder.tokenmark.uid
  interval_seconds = 60

  dynamic "rule" {
    for_each = each.value.rules
    content {
      name           = rule.value.alert
      for            = try(rule.value.for, "0s")
      condition      = "fires"
      no_data_state  = "OK"
      exec_err_state = "Error"
      labels         = try(rule.value.labels, {})
      annotations    = { for name, text in rule.value.annotations : name => replace(text, "$value ", "$values.query.Value ") }

      data {
        ref_id         = "query"
        datasource_uid = grafana_data_source.centre.uid
        model          = jsonencode({ refId = "query", expr = rule.value.expr, instant = true, range = false })
        relative_time_range {
          from = 600
          to   = 0
        }
      }
      data {
        ref_id         = "exists"
        datasource_uid = "__expr__"
        model = jsonencode({
          refId      = "exists"
          type       = "math"
          expression = "is_number($query) || is_nan($query) || is_inf($query)"
        })
        relative_time_range {
          from = 0
          to   = 0
        }
      }
      data {
        ref_id         = "fires"
        datasource_uid = "__expr__"
        model = jsonencode({
          refId      = "fires"
          type       = "threshold"
          expression = "exists"
          conditions = [{ evaluator = { type = "gt", params = [0] } }]
        })
        relative_time_range {
          from = 0
          to   = 0
        }
      }
    }
  }
}
