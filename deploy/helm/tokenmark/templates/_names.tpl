{{- define "tokenmark.labels" -}}
app.kubernetes.io/name: tokenmark
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "tokenmark.selector" -}}
app.kubernetes.io/name: tokenmark
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "tokenmark.operator" -}}
{{- if eq .Release.Name "tokenmark" }}tokenmark-operator{{ else }}{{ .Release.Name }}-tokenmark-operator{{ end }}
{{- end }}

{{- /* Namespaces the operator watches; empty is all. */ -}}
{{- define "tokenmark.namespaces" -}}
{{- if .Values.watchNamespaces }}{{ join "," .Values.watchNamespaces }}{{ else if .Values.rbac.namespaced }}{{ .Release.Namespace }}{{ end }}
{{- end }}

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
  resources: [services]
  verbs: [get, create, delete]
- apiGroups: [""]
  resources: [events]
  verbs: [create, list]
{{- end }}
