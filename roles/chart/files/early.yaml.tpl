{{- if .Release.IsUpgrade }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "tandem.early.configmap" (list $ "django") }}
  namespace: {{ toJson .Release.Namespace }}
  labels: {app.kubernetes.io/name: django, app.kubernetes.io/instance: {{ toJson .Release.Name }}}
  annotations: {{ include "tandem.hook" (list $ -1) }}
{{- include "tandem.ConfigMap.django" $ }}
{{- if (include "tandem.Secret.django" $ | fromYaml).data }}
---
apiVersion: v1
kind: Secret
metadata:
  name: {{ include "tandem.early.secret" (list $ "django") }}
  namespace: {{ toJson .Release.Namespace }}
  labels: {app.kubernetes.io/name: django, app.kubernetes.io/instance: {{ toJson .Release.Name }}}
  annotations: {{ include "tandem.hook" (list $ -1) }}
type: Opaque
{{- include "tandem.Secret.django" $ }}
{{- end }}
{{- end }}
