package up

import (
	"crypto/tls"
	"encoding/json"

	"ecr-pull-secrets.dev/tests/cluster/internal/pki"
)

// credentials are the files that the components authenticate with, and what
// this program itself uses.
type credentials struct {
	authority             string // paths
	serving, servingKey   string
	signingKey            string
	administrator         string // kubeconfigs
	controllerManager     string
	authorityPEM          []byte
	administratorIdentity tls.Certificate
}

// issue makes the credentials of a cluster whose API server is at this URL.
func issue(in *folder, server string) (*credentials, error) {
	authority, err := pki.NewAuthority()
	if err != nil {
		return nil, err
	}
	serving, err := authority.Server("127.0.0.1", "localhost", clusterIPOfKubernetes,
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
	if err != nil {
		return nil, err
	}
	signingKey, err := pki.SigningKey()
	if err != nil {
		return nil, err
	}
	administrator, err := authority.Client("admin", "system:masters")
	if err != nil {
		return nil, err
	}
	controllerManager, err := authority.Client("system:kube-controller-manager")
	if err != nil {
		return nil, err
	}

	made := &credentials{authorityPEM: authority.PEM}
	if made.administratorIdentity, err = tls.X509KeyPair(administrator.Certificate, administrator.Key); err != nil {
		return nil, err
	}
	for _, file := range []struct {
		path    *string
		name    string
		content []byte
	}{
		{&made.authority, "pki/ca.crt", authority.PEM},
		{&made.serving, "pki/apiserver.crt", serving.Certificate},
		{&made.servingKey, "pki/apiserver.key", serving.Key},
		{&made.signingKey, "pki/service-account.key", signingKey},
		{&made.administrator, "admin.kubeconfig", kubeconfig(server, authority.PEM, "admin", administrator)},
		{&made.controllerManager, "pki/controller-manager.kubeconfig", kubeconfig(server, authority.PEM, "controller-manager", controllerManager)},
	} {
		if *file.path, err = in.write(file.name, file.content); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// kubeconfig is self-contained, so that it can be copied. It is JSON, which is
// YAML too.
func kubeconfig(server string, authority []byte, user string, identity pki.Pair) []byte {
	type object = map[string]any
	const cluster = "test"
	content, err := json.MarshalIndent(object{
		"apiVersion": "v1",
		"kind":       "Config",
		"clusters": []object{{"name": cluster, "cluster": object{
			"server": server, "certificate-authority-data": authority,
		}}},
		"users": []object{{"name": user, "user": object{
			"client-certificate-data": identity.Certificate, "client-key-data": identity.Key,
		}}},
		"contexts":        []object{{"name": cluster, "context": object{"cluster": cluster, "user": user}}},
		"current-context": cluster,
	}, "", "  ")
	if err != nil {
		panic(err) // strings and bytes only: cannot fail
	}
	return content
}
