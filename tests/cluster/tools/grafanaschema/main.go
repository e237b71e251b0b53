// A provider with the schema that the grafana provider's documentation states (v3.25: docs/resources/{folder,data_source,dashboard,
// rule_group}.md), for `validate` and `plan` where the real one cannot be had. It keeps what it is given and reaches nothing.
package main

import (
	"context"

	"github.com/hashicorp/terraform-plugin-sdk/v2/diag"
	"github.com/hashicorp/terraform-plugin-sdk/v2/helper/schema"
	"github.com/hashicorp/terraform-plugin-sdk/v2/plugin"
)

type fields = map[string]*schema.Schema

func required(kind schema.ValueType) *schema.Schema { return &schema.Schema{Type: kind, Required: true} }
func optional(kind schema.ValueType) *schema.Schema { return &schema.Schema{Type: kind, Optional: true} }
func computed(kind schema.ValueType) *schema.Schema { return &schema.Schema{Type: kind, Computed: true} }
func told(kind schema.ValueType) *schema.Schema {
	return &schema.Schema{Type: kind, Optional: true, Computed: true}
}
func sensitive(field *schema.Schema) *schema.Schema { field.Sensitive = true; return field }
func words() *schema.Schema {
	return &schema.Schema{Type: schema.TypeMap, Optional: true, Elem: &schema.Schema{Type: schema.TypeString}}
}
func blocks(inside fields, least, most int) *schema.Schema {
	return &schema.Schema{Type: schema.TypeList, Required: true, MinItems: least, MaxItems: most, Elem: &schema.Resource{Schema: inside}}
}

var data = fields{
	"ref_id":         required(schema.TypeString),
	"datasource_uid": required(schema.TypeString),
	"model":          required(schema.TypeString),
	"query_type":     optional(schema.TypeString),
	"relative_time_range": blocks(fields{
		"from": required(schema.TypeInt), "to": required(schema.TypeInt),
	}, 1, 1),
}

var rule = fields{
	"name": required(schema.TypeString), "data": blocks(data, 1, 0),
	"annotations": words(), "labels": words(),
	"condition": optional(schema.TypeString), "exec_err_state": optional(schema.TypeString),
	"no_data_state": optional(schema.TypeString), "for": optional(schema.TypeString),
	"keep_firing_for": optional(schema.TypeString), "is_paused": optional(schema.TypeBool), "uid": told(schema.TypeString),
}

var resources = map[string]fields{
	"grafana_folder": {
		"title": required(schema.TypeString), "uid": told(schema.TypeString), "org_id": optional(schema.TypeString),
		"parent_folder_uid": optional(schema.TypeString), "prevent_destroy_if_not_empty": optional(schema.TypeBool),
		"url": computed(schema.TypeString),
	},
	"grafana_data_source": {
		"name": required(schema.TypeString), "type": required(schema.TypeString),
		"access_mode": optional(schema.TypeString), "basic_auth_enabled": optional(schema.TypeBool),
		"basic_auth_username": optional(schema.TypeString), "database_name": optional(schema.TypeString),
		"http_headers": sensitive(words()), "is_default": optional(schema.TypeBool),
		"json_data_encoded": optional(schema.TypeString), "org_id": optional(schema.TypeString),
		"secure_json_data_encoded": sensitive(optional(schema.TypeString)), "uid": told(schema.TypeString),
		"url": optional(schema.TypeString), "username": optional(schema.TypeString),
	},
	"grafana_dashboard": {
		"config_json": required(schema.TypeString), "folder": optional(schema.TypeString), "message": optional(schema.TypeString),
		"org_id": optional(schema.TypeString), "overwrite": optional(schema.TypeBool),
		"dashboard_id": computed(schema.TypeInt), "uid": computed(schema.TypeString), "url": computed(schema.TypeString),
		"version": computed(schema.TypeInt),
	},
	"grafana_rule_group": {
		"name": required(schema.TypeString), "folder_uid": required(schema.TypeString),
		"interval_seconds": required(schema.TypeInt), "rule": blocks(rule, 1, 0),
		"disable_provenance": optional(schema.TypeBool), "org_id": optional(schema.TypeString),
	},
}

func keep(_ context.Context, d *schema.ResourceData, _ any) diag.Diagnostics {
	d.SetId("kept")
	return nil
}

func nothing(context.Context, *schema.ResourceData, any) diag.Diagnostics { return nil }

func provider() *schema.Provider {
	table := map[string]*schema.Resource{}
	for name, inside := range resources {
		table[name] = &schema.Resource{
			Schema: inside, CreateContext: keep, ReadContext: nothing, UpdateContext: nothing, DeleteContext: nothing,
		}
	}
	configured := fields{"url": optional(schema.TypeString), "auth": sensitive(optional(schema.TypeString))}
	return &schema.Provider{Schema: configured, ResourcesMap: table}
}

func main() {
	plugin.Serve(&plugin.ServeOpts{ProviderFunc: provider})
}
