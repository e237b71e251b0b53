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
