{{- /* Generated from the operator's registry of kinds: make schemas. */ -}}
{{- define "tokenmark.rules" -}}
- apiGroups: [tokenmark.dev]
  resources: [benchmarkruns, netprobes]
  verbs: [get, list, watch, delete]
- apiGroups: [tokenmark.dev]
  resources: [benchmarkruns/status, netprobes/status]
  verbs: [get, patch]
- apiGroups: [tokenmark.dev]
  resources: [benchmarkruns/finalizers, netprobes/finalizers]
  verbs: [update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, create]
- apiGroups: [""]
  resources: [events]
  verbs: [create, list]
- apiGroups: [""]
  resources: [services]
  verbs: [get, create, delete]
{{- end }}

{{- define "tokenmark.kinds" -}}
[benchmarkruns, netprobes]
{{- end }}
