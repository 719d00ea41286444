package up

import (
	"crypto/tls"
	"encoding/json"

	"ecr-pull-secrets.dev/tests/cluster/internal/node"
	"ecr-pull-secrets.dev/tests/cluster/internal/pki"
)

// credentials are the credentials of the components, as files, and those of this
// program.
type credentials struct {
	authority           string // these are paths
	serving, servingKey string
	signingKey          string
	administrator       string // these are kubeconfigs
	controllerManager   string
	// Empty without a node.
	scheduler, proxy, kubelet       string
	kubeletClient, kubeletClientKey string

	authorityPEM          []byte
	administratorIdentity tls.Certificate
}

// issue makes the credentials of a cluster.
func issue(in *folder, at endpoints, withNode bool) (*credentials, error) {
	authority, err := pki.NewAuthority()
	if err != nil {
		return nil, err
	}
	serving, err := authority.Server(at.server.Addr().String(), "127.0.0.1", "localhost", at.kubernetes,
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

	made := &credentials{authorityPEM: authority.PEM}
	if made.administratorIdentity, err = tls.X509KeyPair(administrator.Certificate, administrator.Key); err != nil {
		return nil, err
	}
	files := []credential{
		{&made.authority, "pki/ca.crt", authority.PEM},
		{&made.serving, "pki/apiserver.crt", serving.Certificate},
		{&made.servingKey, "pki/apiserver.key", serving.Key},
		{&made.signingKey, "pki/service-account.key", signingKey},
		{&made.administrator, "admin.kubeconfig", kubeconfig(at, authority.PEM, "admin", administrator)},
	}
	users := []user{{&made.controllerManager, "controller-manager", "system:kube-controller-manager", nil}}
	if withNode {
		users = append(users,
			user{&made.scheduler, "scheduler", "system:kube-scheduler", nil},
			user{&made.proxy, "proxy", "system:kube-proxy", nil},
			user{&made.kubelet, "kubelet", "system:node:" + node.Name, []string{"system:nodes"}},
		)
		client, err := authority.Client("kube-apiserver-kubelet-client", "system:masters")
		if err != nil {
			return nil, err
		}
		files = append(files,
			credential{&made.kubeletClient, "pki/kubelet-client.crt", client.Certificate},
			credential{&made.kubeletClientKey, "pki/kubelet-client.key", client.Key},
		)
	}
	for _, each := range users {
		identity, err := authority.Client(each.name, each.groups...)
		if err != nil {
			return nil, err
		}
		content := kubeconfig(at, authority.PEM, each.file, identity)
		files = append(files, credential{each.path, "pki/" + each.file + ".kubeconfig", content})
	}
	for _, each := range files {
		if *each.path, err = in.write(each.name, each.content); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// credential is a file, and the field that gets its path.
type credential struct {
	path    *string
	name    string
	content []byte
}

// user is a user of the API server with a kubeconfig.
type user struct {
	path   *string
	file   string
	name   string
	groups []string
}

// kubeconfig makes a kubeconfig without references to files, so that it can be
// copied. It is JSON, which is also YAML.
func kubeconfig(at endpoints, authority []byte, user string, identity pki.Pair) []byte {
	type object = map[string]any
	const cluster = "test"
	content, err := json.MarshalIndent(object{
		"apiVersion": "v1",
		"kind":       "Config",
		"clusters": []object{{"name": cluster, "cluster": object{
			"server": at.serverURL(), "certificate-authority-data": authority,
		}}},
		"users": []object{{"name": user, "user": object{
			"client-certificate-data": identity.Certificate, "client-key-data": identity.Key,
		}}},
		"contexts":        []object{{"name": cluster, "context": object{"cluster": cluster, "user": user}}},
		"current-context": cluster,
	}, "", "  ")
	if err != nil {
		panic(err) // cannot fail: strings and bytes only
	}
	return content
}
