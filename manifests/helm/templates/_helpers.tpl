{{/*
Object names do not follow the release name: RBAC, guard policies and the program itself are bound to them by name, and a
second copy in one cluster would only fight the first.
*/}}

{{/* The one Secret name that RBAC and guard are bound to. The program's default is the same. */}}
{{- define "ecr-pull-secrets.secretName" -}}
{{- $name := dig "secret" "name" "ecr-registry-credentials" .Values.config -}}
{{- if has $name (list (include "ecr-pull-secrets.tlsName" .) (include "ecr-pull-secrets.storeName" .)) -}}
{{- fail (printf "config.secret.name: %s is a Secret of our own" $name) -}}
{{- end -}}
{{- $name -}}
{{- end }}

{{/* The token store: one Secret, in our own namespace. */}}
{{- define "ecr-pull-secrets.storeName" -}}
ecr-pull-secrets-tokens
{{- end }}

{{/* CA and serving certificate: one Secret, in our own namespace. */}}
{{- define "ecr-pull-secrets.tlsName" -}}
ecr-pull-secrets-tls
{{- end }}

{{/* Whether the program keeps CA and serving certificate itself; empty for no. */}}
{{- define "ecr-pull-secrets.selfSigned" -}}
{{- if eq .Values.certificate.source "selfSigned" }}yes{{ end -}}
{{- end }}

{{/* The caBundle that the registration is rendered with; whoever else keeps it must find it left alone. */}}
{{- define "ecr-pull-secrets.caBundle" -}}
{{- with .Values.webhook.caBundle -}}
{{- if ne $.Values.certificate.source "secret" -}}
{{- fail (printf "webhook.caBundle is for certificate.source=secret; with %s it is filled in by itself" $.Values.certificate.source) -}}
{{- end -}}
{{- . -}}
{{- end -}}
{{- end }}

{{/* Whether pods that were missed are created again; empty for no. */}}
{{- define "ecr-pull-secrets.recreatesPods" -}}
{{- if dig "repair" "recreatePods" false .Values.config }}yes{{ end -}}
{{- end }}

{{/* How our account is called in an admission review. */}}
{{- define "ecr-pull-secrets.username" -}}
system:serviceaccount:{{ .Release.Namespace }}:ecr-pull-secrets
{{- end }}

{{/* Nothing that differs between releases or versions: a Deployment's selector can never be changed. */}}
{{- define "ecr-pull-secrets.selector" -}}
app.kubernetes.io/name: ecr-pull-secrets
{{- end }}

{{- define "ecr-pull-secrets.labels" -}}
{{ include "ecr-pull-secrets.selector" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/*
CEL: does this text (the argument, a CEL expression) start like a private ECR host?

A superset of the program's test on purpose: what this refuses never reaches the program, what it lets through is looked at
properly. Account, then `.dkr.ecr`, `.dkr-ecr` and their `-fips` forms cover every partition, whatever its domain. The
`contains` in front is there for the cost budget: it is several times cheaper than the expression, so that pods with
thousands of containers stay within it.
*/}}
{{- define "ecr-pull-secrets.celIsEcr" -}}
{{ . }}.contains('.dkr') && {{ . }}.matches('^[0-9]{12}[.]dkr[.-]ecr')
{{- end }}

{{/* The head of a guard policy: only our own account is ever judged. */}}
{{- define "ecr-pull-secrets.onlyUs" -}}
# With Fail an error in here would hit everybody's writes, hence the has().
- name: only-our-account
  expression: "has(request.userInfo.username) && request.userInfo.username == '{{ include "ecr-pull-secrets.username" . }}'"
{{- end }}

{{/* The binding of a guard policy; the argument is a list of root context and name. */}}
{{- define "ecr-pull-secrets.guardBinding" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ $name }}
  labels:
    {{- include "ecr-pull-secrets.labels" $root | nindent 4 }}
spec:
  policyName: {{ $name }}
  validationActions: [Deny]
{{- end }}
