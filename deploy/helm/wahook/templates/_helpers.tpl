{{- define "wahook.name" -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* Labels by which pods of a workload are selected: (dict "root" $ "component" "api"). */}}
{{- define "wahook.selector" -}}
app.kubernetes.io/name: wahook
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{- define "wahook.labels" -}}
{{ include "wahook.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "wahook.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* The settings as a file. JSON's strings, numbers and lists are TOML's, too. */}}
{{- define "wahook.settings" -}}
{{- $all := deepCopy .Values.settings }}
{{- $fixed := dict
  "node" (dict "data_dir" "/data")
  "log" (dict "format" "json")
  "api" (dict "listen" "0.0.0.0:8080")
  "admin" (dict "listen" "0.0.0.0:9090")
  "secrets" (dict "keys_file" "/etc/wahook-keys/secrets.keys") }}
{{- if eq (dig "store" "kind" "sqlite" $all) "sqlite" }}
{{- $_ := set $fixed "store" (dict "path" "/data/hooks.db") }}
{{- end }}
{{- if ne (dig "whatsapp" "keys" "files" $all) "jetstream" }}
{{- $_ := set $fixed "whatsapp" (dict "sessions_dir" "/data/sessions") }}
{{- end }}
{{- if .Values.nats.ca.secret }}
{{- $_ := set $fixed "nats" (dict "root_ca_file" "/etc/wahook-nats-ca/ca.pem") }}
{{- end }}
{{- if .Values.cql.ca.secret }}
{{- $_ := set $fixed "cql" (dict "root_ca_file" "/etc/wahook-cql-ca/ca.pem") }}
{{- end }}
{{- range $section, $keys := mergeOverwrite $fixed $all }}
[{{ $section }}]
{{- range $key, $value := $keys }}
{{- if not (kindIs "invalid" $value) }}
{{ $key }} = {{ toJson $value }}
{{- end }}
{{- end }}
{{ end }}
{{- end }}

{{/* Everything of a pod but its containers: (dict "root" $ "component" "api"). */}}
{{- define "wahook.pod" -}}
{{- $values := .root.Values }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $values.imagePullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  # The group may read the keys.
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: { type: RuntimeDefault }
{{- with $values.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
volumes:
  - name: config
    configMap: { name: {{ include "wahook.name" .root }}{{ if .isJob }}-jobs{{ end }} }
  - name: keys
    secret:
      secretName: {{ required "secretsKeys.secret: name the Secret with the keys file (docs/secrets.md)" $values.secretsKeys.secret }}
      defaultMode: 0440
      items: [{ key: {{ $values.secretsKeys.key }}, path: secrets.keys }]
  {{- with $values.nats.ca }}
  {{- if .secret }}
  - name: nats-ca
    secret: { secretName: {{ .secret }}, items: [{ key: {{ .key }}, path: ca.pem }] }
  {{- end }}
  {{- end }}
  {{- with $values.cql.ca }}
  {{- if .secret }}
  - name: cql-ca
    secret: { secretName: {{ .secret }}, items: [{ key: {{ .key }}, path: ca.pem }] }
  {{- end }}
  {{- end }}
  - name: tmp
    emptyDir: { sizeLimit: 256Mi }
  {{- if ne .component "all" }}
  - name: data
    emptyDir: { sizeLimit: 256Mi }
  {{- end }}
{{- end }}

{{/* What all containers have: (dict "root" $ "user" "api"), the user of NATS. */}}
{{- define "wahook.container" -}}
{{- $values := .root.Values }}
image: {{ include "wahook.image" .root | quote }}
imagePullPolicy: {{ $values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
env:
  {{- if $values.nats.passwords }}
  - name: WAHOOK__NATS__USER
    value: {{ .user }}
  - name: WAHOOK__NATS__INBOX_PREFIX
    value: _INBOX_{{ .user }}
  - name: WAHOOK__NATS__PASSWORD
    valueFrom: { secretKeyRef: { name: {{ $values.nats.passwords }}, key: {{ .user }} } }
  {{- end }}
  {{- range $key, $from := $values.secretSettings }}
  - name: WAHOOK__{{ $key | upper | replace "." "__" }}
    valueFrom: { secretKeyRef: { name: {{ $from.secret }}, key: {{ $from.key }} } }
  {{- end }}
  {{- if and (not $values.nats.passwords) (not $values.secretSettings) }}
  []
  {{- end }}
volumeMounts:
  - { name: config, mountPath: /etc/wahook, readOnly: true }
  - { name: keys, mountPath: /etc/wahook-keys, readOnly: true }
  {{- if $values.nats.ca.secret }}
  - { name: nats-ca, mountPath: /etc/wahook-nats-ca, readOnly: true }
  {{- end }}
  {{- if $values.cql.ca.secret }}
  - { name: cql-ca, mountPath: /etc/wahook-cql-ca, readOnly: true }
  {{- end }}
  - { name: tmp, mountPath: /tmp }
  - { name: data, mountPath: /data }
{{- end }}

{{/* A container that serves: (dict "root" $ "component" "api" "roles" "api" "resources" …). */}}
{{- define "wahook.server" -}}
name: wahook
args: [serve, --roles, {{ .roles | quote }}, --config, /etc/wahook/wahook.toml]
{{ include "wahook.container" (dict "root" .root "user" .user) }}
ports:
  - { name: admin, containerPort: 9090 }
  {{- if has "api" (splitList "," .roles) }}
  - { name: api, containerPort: 8080 }
  {{- end }}
# A node waits for its servers before it is ready; that is no reason to start it again.
startupProbe:
  httpGet: { path: /livez, port: admin }
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: { path: /livez, port: admin }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: { path: /readyz, port: admin }
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
resources: {{ toJson .resources }}
{{- end }}
