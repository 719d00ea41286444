{{/*
What the pods of the Deployment and of the jobs have in common. `sync` runs as the same account as the replicas, with the same
configuration and the same way to AWS, so the guards hold for it too.
*/}}

{{/* Fields of a pod's spec. */}}
{{- define "ecr-pull-secrets.podSpec" -}}
serviceAccountName: ecr-pull-secrets
automountServiceAccountToken: true
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  # The group of the mounted files, so that they need not be world-readable.
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.extraInitContainers }}
initContainers:
{{- toYaml . | nindent 0 }}
{{- end }}
{{- end }}

{{- define "ecr-pull-secrets.image" -}}
{{- with .Values.image -}}
image: "{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}"
imagePullPolicy: {{ .pullPolicy }}
{{- end }}
{{- end }}

{{/* Flags of every verb. */}}
{{- define "ecr-pull-secrets.args" -}}
- --config=/etc/ecr-pull-secrets/config.yaml
- --log-format=json
{{- with .Values.logLevel }}
- --log-level={{ . }}
{{- end }}
- --namespace=$(POD_NAMESPACE)
{{- end }}

{{- define "ecr-pull-secrets.env" -}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
# Our identity in the Lease and in Events.
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- with .Values.aws }}
{{- if not .imds }}
# Without a metadata service, the SDK would time out there before it reports missing credentials.
- {name: AWS_EC2_METADATA_DISABLED, value: "true"}
{{- end }}
{{- with .region }}
- {name: AWS_REGION, value: {{ . | quote }}}
{{- end }}
{{- if .roleArn }}
- {name: AWS_ROLE_ARN, value: {{ .roleArn | quote }}}
- {name: AWS_WEB_IDENTITY_TOKEN_FILE, value: /var/run/secrets/sts.amazonaws.com/serviceaccount/token}
- {name: AWS_ROLE_SESSION_NAME, value: ecr-pull-secrets}
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Fields of a container that depend on nothing it does. */}}
{{- define "ecr-pull-secrets.confinement" -}}
{{- with .Values.resources -}}
resources:
  {{- toYaml . | nindent 2 }}
{{ end -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "ecr-pull-secrets.volumeMounts" -}}
# Directories, never subPath: the kubelet does not update a file that is mounted by subPath.
- {name: config, mountPath: /etc/ecr-pull-secrets, readOnly: true}
{{- if .Values.aws.roleArn }}
- {name: aws-token, mountPath: /var/run/secrets/sts.amazonaws.com/serviceaccount, readOnly: true}
{{- else if .Values.aws.credentialsSecret }}
- {name: aws-credentials, mountPath: /var/run/secrets/aws, readOnly: true}
{{- end }}
{{- range .Values.aws.credentials }}
- {name: aws-credentials-{{ .name }}, mountPath: /var/run/secrets/aws-{{ .name }}, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "ecr-pull-secrets.volumes" -}}
- name: config
  configMap: {name: ecr-pull-secrets}
{{- if .Values.aws.roleArn }}
- name: aws-token
  projected:
    defaultMode: 0440
    sources:
    - serviceAccountToken: {path: token, audience: sts.amazonaws.com, expirationSeconds: {{ .Values.aws.tokenSeconds }}}
{{- else if .Values.aws.credentialsSecret }}
- name: aws-credentials
  secret:
    secretName: {{ .Values.aws.credentialsSecret }}
    defaultMode: 0440
    # Without the Secret the SDK asks the rest of its credential chain, and the log names what is missing.
    optional: true
{{- end }}
{{- range .Values.aws.credentials }}
- name: aws-credentials-{{ .name }}
  secret: {secretName: {{ .secret }}, defaultMode: 0440, optional: true}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The spec of a Job that runs `sync` once. */}}
{{- define "ecr-pull-secrets.syncJob" -}}
# Tried again after 10 s, 20 s, 40 s and so on, for some ten minutes: the AWS keys may come later than the Job.
backoffLimit: 6
activeDeadlineSeconds: 3600
template:
  metadata:
    labels:
      {{- with .Values.podLabels }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
      # Another name than the replicas', because the Service sends requests to pods of that name.
      app.kubernetes.io/name: ecr-pull-secrets-sync
    {{- with .Values.podAnnotations }}
    annotations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
  spec:
    {{- include "ecr-pull-secrets.podSpec" . | nindent 4 }}
    # A pod for each attempt, so that the log of a failed one stays.
    restartPolicy: Never
    containers:
    - name: ecr-pull-secrets
      {{- include "ecr-pull-secrets.image" . | nindent 6 }}
      args:
      - sync
      {{- include "ecr-pull-secrets.args" . | nindent 6 }}
      env:
      {{- include "ecr-pull-secrets.env" . | nindent 6 }}
      {{- include "ecr-pull-secrets.confinement" . | nindent 6 }}
      volumeMounts:
      {{- include "ecr-pull-secrets.volumeMounts" . | nindent 6 }}
    volumes:
    {{- include "ecr-pull-secrets.volumes" . | nindent 4 }}
{{- end }}
