{{/*
Object names do not follow the release name: RBAC, the guard policies and the program refer to these objects by name, and a
second installation in one cluster would conflict with the first.
*/}}

{{/* The name of the pull Secrets, which RBAC and the guards refer to. The default is the program's. */}}
{{- define "ecr-pull-secrets.secretName" -}}
{{- $name := dig "secret" "name" "ecr-registry-credentials" .Values.config -}}
{{- if or (eq $name (include "ecr-pull-secrets.tlsName" .)) (has $name (include "ecr-pull-secrets.storeNames" . | fromJsonArray)) -}}
{{- fail (printf "config.secret.name: %s is the name of one of our own Secrets; choose another" $name) -}}
{{- end -}}
{{- $name -}}
{{- end }}

{{/*
The configuration, with the value webhook.excludedNamespaces of earlier charts in its new field. The program asks this list in
every loop, and the webhook's namespaceSelector is rendered from it.
*/}}
{{- define "ecr-pull-secrets.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- with .Values.webhook.excludedNamespaces -}}
{{- if dig "scope" "excludedNamespaces" "" $config -}}
{{- fail "webhook.excludedNamespaces is now config.scope.excludedNamespaces: remove the old value" -}}
{{- end -}}
{{- $config = mergeOverwrite $config (dict "scope" (dict "excludedNamespaces" .)) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end }}

{{/* The namespaces whose pods the API server does not ask about, as a JSON list. The default is the program's. */}}
{{- define "ecr-pull-secrets.excludedNamespaces" -}}
{{- $config := include "ecr-pull-secrets.config" . | fromYaml -}}
{{- $default := list "kube-system" "kube-public" "kube-node-lease" -}}
{{- prepend (dig "scope" "excludedNamespaces" $default $config) .Release.Namespace | uniq | toJson -}}
{{- end }}

{{/*
The token store: Secrets in our own namespace, as a JSON list of their names. RBAC and the guard name all of them; the program
creates the second and all further ones only if the first is full. It has the same list (core/src/token/shards.rs).
*/}}
{{- define "ecr-pull-secrets.storeNames" -}}
{{- $names := list "ecr-pull-secrets-tokens" -}}
{{- range $number := untilStep 1 8 1 -}}
{{- $names = append $names (printf "ecr-pull-secrets-tokens-%d" $number) -}}
{{- end -}}
{{- $names | toJson -}}
{{- end }}

{{/* CA and serving certificate: one Secret in our own namespace. */}}
{{- define "ecr-pull-secrets.tlsName" -}}
ecr-pull-secrets-tls
{{- end }}

{{/* The caBundle of the registration: empty, so that the manifest omits the field, unless the user manages the certificate. */}}
{{- define "ecr-pull-secrets.caBundle" -}}
{{- with .Values.webhook.caBundle -}}
{{- if ne $.Values.certificate.source "secret" -}}
{{- fail (printf "webhook.caBundle requires certificate.source=secret; with %s it is set automatically, so remove the value" $.Values.certificate.source) -}}
{{- end -}}
{{- . -}}
{{- end -}}
{{- end }}

{{/* "yes" if the webhook gives new pods their reference, otherwise empty. */}}
{{- define "ecr-pull-secrets.injects" -}}
{{- if eq (dig "injection" "webhook" .Values.config) "webhook" }}yes{{ end -}}
{{- end }}

{{/* "yes" if the webhook gives all pods of labelled namespaces their reference, whatever their images, otherwise empty. */}}
{{- define "ecr-pull-secrets.allPods" -}}
{{- if eq (dig "selection" "opt-out" .Values.config) "all-pods" }}yes{{ end -}}
{{- end }}

{{/* "yes" if there are replicas, otherwise empty: `sync` alone maintains the Secrets then. */}}
{{- define "ecr-pull-secrets.hasReplicas" -}}
{{- if .Values.replicas }}yes
{{- else if include "ecr-pull-secrets.injects" . }}
{{- fail "replicas: 0 would leave the webhook without an answer: set config.injection to none, and sync.cronJob.enabled to true" -}}
{{- end -}}
{{- end }}

{{/* "yes" if the program manages CA and serving certificate itself, otherwise empty. */}}
{{- define "ecr-pull-secrets.selfSigned" -}}
{{- if and (include "ecr-pull-secrets.injects" .) (eq .Values.certificate.source "selfSigned") }}yes{{ end -}}
{{- end }}

{{/* "yes" if missed pods are deleted, so that their controllers re-create them, otherwise empty. */}}
{{- define "ecr-pull-secrets.recreatesPods" -}}
{{- if dig "repair" "recreatePods" false .Values.config }}yes{{ end -}}
{{- end }}

{{/* "yes" with the guard of every other write. The value is absent after an upgrade with --reuse-values. */}}
{{- define "ecr-pull-secrets.guardsRest" -}}
{{- with .Values.guard }}{{ if .rest }}yes{{ end }}{{ end -}}
{{- end }}

{{/* The user name of our account in an admission request. */}}
{{- define "ecr-pull-secrets.username" -}}
system:serviceaccount:{{ .Release.Namespace }}:ecr-pull-secrets
{{- end }}

{{/* No label that differs between releases or versions: a Deployment's selector is immutable. */}}
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
A CEL condition: the text (the argument, a CEL expression) starts like a private ECR host.

This is a superset of the program's test, because a pod that does not match here never reaches the program; the program then
tests strictly. An account followed by `.dkr.ecr` or `.dkr-ecr`, with or without `-fips`, covers every partition and domain.
`contains` comes first for the cost budget of CEL: it is several times cheaper than the regular expression, so that pods with
thousands of containers stay within the budget.
*/}}
{{- define "ecr-pull-secrets.celIsEcr" -}}
{{ . }}.contains('.dkr') && {{ . }}.matches('^[0-9]{12}[.]dkr[.-]ecr')
{{- end }}

{{/* The match condition of a guard policy: requests of our own account only. */}}
{{- define "ecr-pull-secrets.onlyUs" -}}
# The has() avoids an error: with failurePolicy Fail, an error here would reject the writes of every account.
- name: only-our-account
  expression: "has(request.userInfo.username) && request.userInfo.username == '{{ include "ecr-pull-secrets.username" . }}'"
{{- end }}

{{/* The binding of a guard policy. Argument: a list of the root context and the policy's name. */}}
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
