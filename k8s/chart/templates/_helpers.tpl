{{- define "sparing.selector" -}}
app.kubernetes.io/name: {{ .Values.name }}
app.kubernetes.io/component: server
{{- end }}
{{- define "sparing.labels" -}}
{{ include "sparing.selector" . }}
app.kubernetes.io/part-of: {{ .Values.name }}
{{- end }}
{{- define "sparing.redisSelector" -}}
app.kubernetes.io/name: {{ .Values.name }}
app.kubernetes.io/component: redis
{{- end }}
{{- define "sparing.redisLabels" -}}
{{ include "sparing.redisSelector" . }}
app.kubernetes.io/part-of: {{ .Values.name }}
{{- end }}
{{- define "sparing.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag }}
{{- end }}
{{- end }}
{{- define "sparing.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop:
    - ALL
{{- end }}
