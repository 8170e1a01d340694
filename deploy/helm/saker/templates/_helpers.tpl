{{- define "saker.name" -}}
{{- if contains "saker" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-saker" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "saker.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- /* Labels of a component: (dict "root" $ "component" NAME) */ -}}
{{- define "saker.selector" -}}
app.kubernetes.io/name: saker
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "saker.labels" -}}
{{ include "saker.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "saker.etcdTls" -}}{{ .Values.secrets.etcdTls | default (printf "%s-etcd-tls" (include "saker.name" .)) }}{{- end }}
{{- define "saker.sakerTls" -}}{{ .Values.secrets.sakerTls | default (printf "%s-tls" (include "saker.name" .)) }}{{- end }}
{{- define "saker.s3Secret" -}}{{ .Values.secrets.s3 | default (printf "%s-s3" (include "saker.name" .)) }}{{- end }}

{{- /* Host NUMBER of a StatefulSet: (list $ COMPONENT NUMBER) */ -}}
{{- define "saker.member" -}}
{{- $name := printf "%s-%s" (include "saker.name" (index . 0)) (index . 1) -}}
{{ printf "%s-%d.%s" $name (index . 2) $name }}
{{- end }}

{{- define "saker.etcdEndpoints" -}}
{{- if .Values.etcd.enabled -}}
{{- range $i := until (int .Values.etcd.replicas) }}{{ if $i }},{{ end }}https://{{ include "saker.member" (list $ "etcd" $i) }}:2379{{ end }}
{{- else }}{{ required "etcd.endpoints: where is etcd? (etcd.enabled is false)" .Values.etcd.endpoints }}{{ end }}
{{- end }}

{{- define "saker.kafkaBrokers" -}}
{{- if .Values.kafka.enabled -}}
{{- range $i := until (int .Values.kafka.replicas) }}{{ if $i }},{{ end }}{{ include "saker.member" (list $ "kafka" $i) }}:9092{{ end }}
{{- else }}{{ required "kafka.brokers: where is Kafka? (kafka.enabled is false)" .Values.kafka.brokers }}{{ end }}
{{- end }}

{{- /* Where the servers are, for the container of a role. */ -}}
{{- define "saker.environment" -}}
- name: ETCD_ENDPOINTS
  value: {{ include "saker.etcdEndpoints" . | quote }}
- name: KAFKA_BROKERLIST
  value: {{ include "saker.kafkaBrokers" . | quote }}
- name: MINIO_ADDRESS
  value: {{ .Values.s3.enabled | ternary (printf "%s-s3" (include "saker.name" .)) .Values.s3.address | required "s3.address: where is S3? (s3.enabled is false)" | quote }}
- name: MINIO_PORT
  value: {{ .Values.s3.enabled | ternary 7070 .Values.s3.port | quote }}
{{- if not .Values.s3.enabled }}
- name: MINIO_USESSL
  value: {{ .Values.s3.useSSL | quote }}
{{- end }}
{{- include "saker.settings" . }}
{{- end }}

{{- define "saker.settings" -}}
{{- range $name, $value := .Values.settings }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{- /* A shared file of NAME=value lines as a list of environment variables: (list $ FILE) */ -}}
{{- define "saker.envFile" -}}
{{- range (index . 0).Files.Lines (index . 1) }}
{{- if and . (not (hasPrefix "#" .)) }}
{{- $pair := splitn "=" 2 . }}
- name: {{ $pair._0 }}
  value: {{ $pair._1 | quote }}
{{- end }}
{{- end }}
{{- end }}

{{- define "saker.resources" -}}
resources:
  requests: {cpu: {{ .cpu | quote }}, memory: {{ .memory }}}
  limits: {memory: {{ .memory }}}
{{- end }}

{{- define "saker.security" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- /* What all pods share: (dict "root" $ "component" NAME) */ -}}
{{- define "saker.pod" -}}
# Kubernetes would describe services in variables such as PROXY_PORT, which are names of settings too.
enableServiceLinks: false
automountServiceAccountToken: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
affinity:
  podAntiAffinity:
  {{- if eq .root.Values.antiAffinity "hard" }}
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels: {{- include "saker.selector" . | nindent 12 }}
  {{- else }}
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels: {{- include "saker.selector" . | nindent 14 }}
  {{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* The volume of a StatefulSet: (list $ SIZE) */ -}}
{{- define "saker.claim" -}}
volumeClaimTemplates:
  - metadata:
      name: data
    spec:
      accessModes: [ReadWriteOnce]
      {{- with (index . 0).Values.storageClassName }}
      storageClassName: {{ . }}
      {{- end }}
      resources: {requests: {storage: {{ index . 1 }}}}
{{- end }}

{{- /* (list $ COMPONENT) */ -}}
{{- define "saker.disruptionBudget" -}}
{{- $root := index . 0 -}}
{{- $labels := dict "root" $root "component" (index . 1) -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "saker.name" $root }}-{{ index . 1 }}
  labels: {{- include "saker.labels" $labels | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {{- include "saker.selector" $labels | nindent 6 }}
{{- end }}

{{- define "saker.probes" -}}
# Not ready while etcd, Kafka or S3 are away at the start; alive all the same. /healthz is for people: what is degraded
# there is never mended by a restart.
startupProbe:
  httpGet: {path: /livez, port: http}
  periodSeconds: 2
  failureThreshold: 30
livenessProbe:
  httpGet: {path: /livez, port: http}
  periodSeconds: 5
  timeoutSeconds: 6
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 2
  timeoutSeconds: 6
{{- end }}
