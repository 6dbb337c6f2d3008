{{/* What the templates beside this one have in common. A list of the root and a service's name is what most of it takes. */}}

{{- define "tandem.image" -}}
{{- $image := index . 1 }}
{{- with (index . 0).Values.image.registry }}
{{- $image = printf "%s/%s" . (regexReplaceAll "^(localhost|[^/]*[.:][^/]*)/" $image "") }}
{{- end }}
{{- $image }}
{{- end }}

{{- define "tandem.named" -}}
[{{ range $index, $name := . }}{{ if $index }}, {{ end }}{"name": {{ toJson $name }}}{{ end }}]
{{- end }}

{{- define "tandem.memcached" -}}
{{- range $index := until (int .) }}{{ if $index }},{{ end }}memcached-{{ $index }}.memcached:11211{{ end }}
{{- end }}

{{/* The ports that Prometheus may ask anyone at: the cluster's API, which no selector names, and Alertmanagers. */}}
{{- define "tandem.outside" -}}
[{"port": 443}, {"port": 6443}{{ range . }}, {"port": {{ splitList ":" . | last | int }}}{{ end }}]
{{- end }}

{{/* The name of a service's ConfigMap: what is in it has its part in it, as in those that deploy-site makes. */}}
{{- define "tandem.configmap" -}}
{{- $data := (include (printf "tandem.ConfigMap.%s" (index . 1)) (index . 0) | fromYaml).data }}
{{- printf "%s-%s" (index . 1) (toRawJson $data | sha256sum | trunc 10) }}
{{- end }}

{{/* The name of a service's Secret: of the one that is made here, whose name takes scrypt's time to guess from if it has no other, or of one
that is there. */}}
{{- define "tandem.secret" -}}
{{- $root := index . 0 }}
{{- $service := index . 1 }}
{{- $data := (include (printf "tandem.Secret.%s" $service) $root | fromYaml).data }}
{{- if and $data (gt (len .) 2) }}
{{- index . 2 }}
{{- else if $data }}
{{- printf "%s-%s" $service (derivePassword 1 "long" (toRawJson $data) $service $root.Release.Name | sha256sum | trunc 10) }}
{{- else }}
{{- $name := (index $root.Values $service).existingSecret }}
{{- $cluster := lookup "v1" "ConfigMap" $root.Release.Namespace "kube-root-ca.crt" }}
{{- if and $cluster (not (lookup "v1" "Secret" $root.Release.Namespace $name)) }}
{{- printf "There is no Secret %s in the namespace %s: make it, name another one as %s.existingSecret, or give the values that it is made of."
  $name $root.Release.Namespace $service | fail }}
{{- end }}
{{- $name }}
{{- end }}
{{- end }}

{{/* The two newest of the versions before, as they are: pods of those may start again until the next one serves, or when it does not. */}}
{{- define "tandem.kept" }}
{{- $root := index . 0 }}
{{- $service := index . 2 }}
{{- $name := include (printf "tandem.%s" (index . 1 | lower)) (list $root $service) }}
{{- $others := dict }}
{{- range (lookup "v1" (index . 1) $root.Release.Namespace "").items }}
{{- $labels := .metadata.labels | default dict }}
{{- $own := and (eq (get $labels "app.kubernetes.io/instance") $root.Release.Name) (eq (get $labels "app.kubernetes.io/name") $service) }}
{{- if and $own .immutable (ne .metadata.name $name) }}
{{- $_ := set $others (printf "%s %s" .metadata.creationTimestamp .metadata.name) . }}
{{- end }}
{{- end }}
{{- range $index, $key := keys $others | sortAlpha | reverse }}
{{- if lt $index 2 }}
{{- $other := get $others $key }}
---
apiVersion: v1
kind: {{ $other.kind }}
metadata:
  name: {{ $other.metadata.name }}
  namespace: {{ toJson $root.Release.Namespace }}
  labels: {{ toJson $other.metadata.labels }}
immutable: true
data: {{ toJson $other.data }}
{{- end }}
{{- end }}
{{- end }}

{{/* Before an upgrade a job reads copies, for what it will share with the others is not there yet: see early.yaml. */}}
{{- define "tandem.early.configmap" -}}
{{- include "tandem.configmap" . }}{{ if (index . 0).Release.IsUpgrade }}-early{{ end }}
{{- end }}

{{- define "tandem.early.secret" -}}
{{- include "tandem.secret" . }}
{{- if and (index . 0).Release.IsUpgrade (include (printf "tandem.Secret.%s" (index . 1)) (index . 0) | fromYaml).data }}-early{{ end }}
{{- end }}

{{/* When a hook runs: after the database was made, and before a new version serves. It says what it did and leaves nothing behind. */}}
{{- define "tandem.hook" -}}
{{- $root := index . 0 }}
{{- $annotations := dict "helm.sh/hook" (ternary "pre-upgrade" "post-install" $root.Release.IsUpgrade)
  "helm.sh/hook-weight" (index . 1 | toString)
  "helm.sh/hook-delete-policy" "before-hook-creation,hook-succeeded,hook-failed" }}
{{- if eq (index . 1) 0 }}
{{- $_ := set $annotations "helm.sh/hook-output-log-policy" "hook-succeeded,hook-failed" }}
{{- end }}
{{- merge $annotations $root.Values.kubernetes.annotations | toJson }}
{{- end }}

{{/* Of one that comes last of all, and takes what is installed by then: an account for an exporter is nothing that a version waits for. */}}
{{- define "tandem.hook.last" -}}
{{- merge (dict "helm.sh/hook" "post-install,post-upgrade" "helm.sh/hook-weight" "1"
  "helm.sh/hook-delete-policy" "before-hook-creation,hook-succeeded,hook-failed"
  "helm.sh/hook-output-log-policy" "hook-succeeded,hook-failed") $.Values.kubernetes.annotations | toJson }}
{{- end }}
